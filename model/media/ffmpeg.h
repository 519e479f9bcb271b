#ifndef FACET_MODEL_MEDIA_FFMPEG_H_
#define FACET_MODEL_MEDIA_FFMPEG_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/media/cpu_deadline.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}

// What the decoders of this folder share of FFmpeg: owners of its objects, and files that lie in
// memory. FFmpeg's objects belong to one thread at a time.

namespace facet {

// FFmpeg's objects are freed through a pointer to the pointer.
template <typename T, void (*Free)(T**)>
struct FfmpegDeleter {
  void operator()(T* object) const { Free(&object); }
};
using CodecContext =
    std::unique_ptr<AVCodecContext, FfmpegDeleter<AVCodecContext, avcodec_free_context>>;
using Frame = std::unique_ptr<AVFrame, FfmpegDeleter<AVFrame, av_frame_free>>;
using Packet = std::unique_ptr<AVPacket, FfmpegDeleter<AVPacket, av_packet_free>>;

// INVALID_ARGUMENT "`what`: FFmpeg's words for `code`".
absl::Status FfmpegError(absl::string_view what, int code);

// A decoder of one thread for `codec`, that makes no frame of more than `pixels_max` pixels.
absl::StatusOr<CodecContext> OpenDecoder(AVCodecID codec, int64_t pixels_max);

// The same for a stream of a file, if its decoder is one of `codecs`: FFmpeg's names, separated by
// commas. INVALID_ARGUMENT where it is not, or refuses the stream's parameters.
absl::StatusOr<CodecContext> OpenDecoder(const AVStream& stream, const char* codecs,
                                         int64_t pixels_max);

// A file of a container format (sound or video), read from memory packet by packet. Every read ends
// with an error once the deadline has passed.
class MediaFile {
 public:
  // `what` is the word for the file in errors. `formats` and `codecs` are FFmpeg's names, separated
  // by commas, of what may be read at all. `what`, `file` and `deadline` must outlive the result.
  static absl::StatusOr<std::unique_ptr<MediaFile>> Open(absl::string_view what,
                                                         absl::string_view file,
                                                         const char* formats, const char* codecs,
                                                         const CpuDeadline& deadline);
  ~MediaFile();

  MediaFile(const MediaFile&) = delete;
  MediaFile& operator=(const MediaFile&) = delete;

  // The first stream of `type` that is no cover picture, all others left unread from here on.
  // To be called once.
  // INVALID_ARGUMENT where there is none.
  absl::StatusOr<AVStream*> SelectStream(AVMediaType type);

  // The next packet of the selected stream; false at the end of the file.
  absl::StatusOr<bool> ReadPacket(AVPacket* packet);

 private:
  MediaFile(absl::string_view what, absl::string_view file, const CpuDeadline& deadline);

  static int Read(void* opaque, uint8_t* buffer, int size);
  static int64_t Seek(void* opaque, int64_t offset, int whence);

  absl::Status Error(absl::string_view doing, int code) const;

  const absl::string_view what_;
  const absl::string_view file_;
  const CpuDeadline& deadline_;
  size_t position_ = 0;                // in `file_`, at most its size
  AVIOContext* io_ = nullptr;          // owned
  AVFormatContext* format_ = nullptr;  // owned
  int stream_ = -1;                    // the selected one
};

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_FFMPEG_H_
