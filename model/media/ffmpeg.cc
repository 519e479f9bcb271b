#include "model/media/ffmpeg.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/media/mp4_tables.h"

extern "C" {
#include <libavutil/avstring.h>
}

namespace facet {
namespace {

constexpr int kReadBufferBytes = 32768;

// As FFmpeg itself: a cover picture may stand before the first sign of an MP3.
constexpr size_t kProbeBytesMax = 1 << 20;

// No single block that FFmpeg takes is larger, whatever a file claims: the largest picture of
// image_decoder.h has 64 million pixels of 4 bytes; of 8 bytes, only half as many.
constexpr size_t kBlockBytesMax = size_t{272} << 20;

// What FFmpeg keeps for the whole process. It would write about each broken file to stderr.
void ConfigureProcess() {
  [[maybe_unused]] static const bool once = [] {
    av_log_set_callback([](void*, int, const char*, va_list) {});
    av_max_alloc(kBlockBytesMax);
    return true;
  }();
}

// The format that the file's first bytes are of; null if FFmpeg knows none.
const AVInputFormat* ProbeFormat(absl::string_view file) {
  std::string first(file.substr(0, kProbeBytesMax));
  AVProbeData probe = {};
  probe.filename = "";
  probe.buf_size = static_cast<int>(first.size());
  first.resize(first.size() + AVPROBE_PADDING_SIZE);
  probe.buf = reinterpret_cast<unsigned char*>(first.data());
  int score = 0;
  return av_probe_input_format3(&probe, /*is_opened=*/1, &score);
}

absl::StatusOr<CodecContext> Open(const AVCodec* decoder, const AVCodecParameters* parameters,
                                  int64_t pixels_max) {
  ConfigureProcess();
  CHECK(decoder != nullptr) << "FFmpeg was built without a decoder that we name";
  CodecContext context(avcodec_alloc_context3(decoder));
  CHECK(context != nullptr) << "out of memory";
  if (parameters != nullptr) {
    const int code = avcodec_parameters_to_context(context.get(), parameters);
    if (code < 0) return FfmpegError(absl::StrCat("parameters of codec ", decoder->name), code);
  }
  context->thread_count = 1;
  context->max_pixels = pixels_max;
  const int code = avcodec_open2(context.get(), decoder, nullptr);
  if (code < 0) return FfmpegError(absl::StrCat("codec ", decoder->name), code);
  return context;
}

}  // namespace

absl::Status FfmpegError(absl::string_view what, int code) {
  char text[AV_ERROR_MAX_STRING_SIZE];
  av_strerror(code, text, sizeof(text));
  return absl::InvalidArgumentError(absl::StrCat(what, ": ", text));
}

absl::StatusOr<CodecContext> OpenDecoder(AVCodecID codec, int64_t pixels_max) {
  return Open(avcodec_find_decoder(codec), nullptr, pixels_max);
}

absl::StatusOr<CodecContext> OpenDecoder(const AVStream& stream, const char* codecs,
                                         int64_t pixels_max) {
  const AVCodec* decoder = avcodec_find_decoder(stream.codecpar->codec_id);
  if (decoder == nullptr || av_match_list(decoder->name, codecs, ',') <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("codec ", avcodec_get_name(stream.codecpar->codec_id), " is not taken"));
  }
  ASSIGN_OR_RETURN(CodecContext context, Open(decoder, stream.codecpar, pixels_max));
  context->pkt_timebase = stream.time_base;
  return context;
}

MediaFile::MediaFile(absl::string_view what, absl::string_view file, const CpuDeadline& deadline)
    : what_(what), file_(file), deadline_(deadline) {
  ConfigureProcess();
  auto* buffer = static_cast<unsigned char*>(av_malloc(kReadBufferBytes));
  io_ = avio_alloc_context(buffer, kReadBufferBytes, 0, this, Read, nullptr, Seek);
  CHECK(buffer != nullptr && io_ != nullptr) << "out of memory";
}

MediaFile::~MediaFile() {
  avformat_close_input(&format_);
  av_freep(static_cast<void*>(&io_->buffer));
  avio_context_free(&io_);
}

absl::StatusOr<std::unique_ptr<MediaFile>> MediaFile::Open(absl::string_view what,
                                                           absl::string_view file,
                                                           const char* formats, const char* codecs,
                                                           const CpuDeadline& deadline) {
  std::unique_ptr<MediaFile> media(new MediaFile(what, file, deadline));
  const AVInputFormat* format = ProbeFormat(file);
  if (format == nullptr || av_match_list(format->name, formats, ',') <= 0) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": not a file of a known format"));
  }
  if (av_match_name("mov", format->name) > 0) {
    const absl::Status status = CheckMp4Tables(file);
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(what, ": ", status.message()));
    }
  }
  media->format_ = avformat_alloc_context();
  CHECK(media->format_ != nullptr) << "out of memory";
  media->format_->pb = media->io_;
  // A file names no other file, and holds no files of other kinds.
  media->format_->format_whitelist = av_strdup(formats);
  media->format_->codec_whitelist = av_strdup(codecs);
  media->format_->protocol_whitelist = av_strdup("");
  // On failure FFmpeg frees the context and clears the pointer.
  const int code = avformat_open_input(&media->format_, nullptr, format, nullptr);
  if (code < 0) return media->Error("damaged", code);
  return media;
}

absl::StatusOr<AVStream*> MediaFile::SelectStream(AVMediaType type) {
  for (unsigned i = 0; i < format_->nb_streams; ++i) {
    AVStream* stream = format_->streams[i];
    const bool cover = (stream->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0;
    const bool selected = stream_ < 0 && !cover && stream->codecpar->codec_type == type;
    if (selected) stream_ = static_cast<int>(i);
    stream->discard = selected ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
  }
  if (stream_ < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(what_, ": holds no ", av_get_media_type_string(type)));
  }
  return format_->streams[stream_];
}

absl::StatusOr<bool> MediaFile::ReadPacket(AVPacket* packet) {
  do {
    av_packet_unref(packet);
    RETURN_IF_ERROR(deadline_.Check(what_));
    int code = av_read_frame(format_, packet);
    if (code == AVERROR_EOF) return false;
    if (code >= 0 && (packet->flags & AV_PKT_FLAG_CORRUPT) != 0) code = AVERROR_INVALIDDATA;
    if (code < 0) return Error("damaged or cut short", code);
  } while (packet->stream_index != stream_);
  return true;
}

absl::Status MediaFile::Error(absl::string_view doing, int code) const {
  RETURN_IF_ERROR(deadline_.Check(what_));
  return FfmpegError(absl::StrCat(what_, ": ", doing), code);
}

int MediaFile::Read(void* opaque, uint8_t* buffer, int size) {
  auto* media = static_cast<MediaFile*>(opaque);
  if (media->deadline_.Passed()) return AVERROR_EXIT;
  const absl::string_view rest = media->file_.substr(media->position_);
  if (rest.empty()) return AVERROR_EOF;
  const size_t bytes = std::min<size_t>(size, rest.size());
  std::memcpy(buffer, rest.data(), bytes);
  media->position_ += bytes;
  return static_cast<int>(bytes);
}

int64_t MediaFile::Seek(void* opaque, int64_t offset, int whence) {
  auto* media = static_cast<MediaFile*>(opaque);
  const auto size = static_cast<int64_t>(media->file_.size());
  if (whence == AVSEEK_SIZE) return size;
  if (whence == SEEK_CUR) offset += static_cast<int64_t>(media->position_);
  if (whence == SEEK_END) offset += size;
  if (offset < 0 || offset > size) return AVERROR(EINVAL);
  media->position_ = static_cast<size_t>(offset);
  return offset;
}

}  // namespace facet
