#include <cstdio>
#include <time.h>
#include <fstream>
#include <iterator>
#include <sys/resource.h>
#include "model/media/image_decoder.h"
#include "model/media/image_patches.h"
#include "model/media/audio_decoder.h"
#include "model/media/video_frames.h"
using namespace facet;
static double now(){timespec t;clock_gettime(CLOCK_THREAD_CPUTIME_ID,&t);return t.tv_sec*1e3+t.tv_nsec*1e-6;}
int main(int argc,char**argv){
  for(int i=1;i<argc;++i){
    std::ifstream f(argv[i],std::ios::binary); std::string s((std::istreambuf_iterator<char>(f)),{});
    std::string n=argv[i];
    double a=now();
    if(n.ends_with("mp4")||n.ends_with("webm")||n.ends_with("mkv")){auto v=DecodeVideo(s);printf("%s %s %.1f ms\n",argv[i],v.ok()?std::to_string(v->size()).c_str():std::string(v.status().message()).c_str(),now()-a);}
    else if(n.ends_with("wav")||n.ends_with("mp3")||n.ends_with("m4a")||n.ends_with("ogg")||n.ends_with("flac")){auto v=DecodeAudio(s);printf("%s %s %.1f ms\n",argv[i],v.ok()?std::to_string(v->size()).c_str():std::string(v.status().message()).c_str(),now()-a);}
    else{auto v=DecodeImage(s); double b=now(); printf("%s %s decode %.1f ms",argv[i],v.ok()?"ok":std::string(v.status().message()).c_str(),b-a); if(v.ok()){auto p=MakeImagePatches(std::move(*v),280);printf(" patches %.1f ms",now()-b);} puts("");}
    rusage u; getrusage(RUSAGE_SELF,&u); printf("   peak %ld MB\n",u.ru_maxrss/1024);
  }
}
