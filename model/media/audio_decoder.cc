#include "model/media/audio_decoder.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/media/cpu_deadline.h"
#include "model/media/ffmpeg.h"
#include "model/media/mono_resampler.h"

namespace facet {
namespace {

constexpr char kFormats[] = "wav,mp3,flac,ogg,mov,mp4,m4a";
constexpr char kCodecs[] =
    "aac,alac,flac,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,vorbis,libvorbis,"
    "pcm_u8,pcm_s16le,pcm_s24le,pcm_s32le,pcm_f32le,pcm_f64le,pcm_alaw,pcm_mulaw";

// A decoder is given one packet, or null at the end of the file; what comes out goes on.
absl::Status DecodePacket(AVCodecContext* context, const AVPacket* packet, AVFrame* frame,
                          MonoResampler& resampler) {
  int code = avcodec_send_packet(context, packet);
  if (code < 0) return FfmpegError("damaged", code);
  while ((code = avcodec_receive_frame(context, frame)) >= 0) {
    RETURN_IF_ERROR(resampler.Add(*frame));
  }
  return code == AVERROR(EAGAIN) || code == AVERROR_EOF ? absl::OkStatus()
                                                        : FfmpegError("damaged", code);
}

absl::Status DecodeStream(MediaFile& media, const AVStream& stream, MonoResampler& resampler) {
  constexpr int64_t kPixelsMax = 1;
  ASSIGN_OR_RETURN(const CodecContext context, OpenDecoder(stream, kCodecs, kPixelsMax));
  context->err_recognition = AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER | AV_EF_EXPLODE;
  const Packet packet(av_packet_alloc());
  const Frame frame(av_frame_alloc());
  CHECK(packet != nullptr && frame != nullptr) << "out of memory";
  while (true) {
    ASSIGN_OR_RETURN(const bool more, media.ReadPacket(packet.get()));
    RETURN_IF_ERROR(
        DecodePacket(context.get(), more ? packet.get() : nullptr, frame.get(), resampler));
    if (!more) return resampler.Finish();
  }
}

absl::Status WithPrefix(const absl::Status& status, int seconds_max) {
  if (status.ok()) return status;
  if (absl::IsOutOfRange(status)) {
    return absl::InvalidArgumentError(
        absl::StrCat("audio: is longer than the limit of ", seconds_max, " s"));
  }
  if (absl::StartsWith(status.message(), "audio")) return status;
  return absl::InvalidArgumentError(absl::StrCat("audio: ", status.message()));
}

}  // namespace

absl::StatusOr<std::vector<float>> DecodeAudio(absl::string_view file, const AudioLimits& limits) {
  if (static_cast<int64_t>(file.size()) > limits.bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("audio: ", file.size(), " bytes is over the limit of ", limits.bytes_max));
  }
  const CpuDeadline deadline(limits.cpu_ms_max);
  ASSIGN_OR_RETURN(const std::unique_ptr<MediaFile> media,
                   MediaFile::Open("audio", file, kFormats, kCodecs, deadline));
  ASSIGN_OR_RETURN(const AVStream* stream, media->SelectStream(AVMEDIA_TYPE_AUDIO));
  MonoResampler resampler(kAudioSamplesPerSecond,
                          int64_t{limits.seconds_max} * kAudioSamplesPerSecond);
  RETURN_IF_ERROR(WithPrefix(DecodeStream(*media, *stream, resampler), limits.seconds_max));
  if (resampler.samples().empty()) {
    return absl::InvalidArgumentError("audio: holds no samples");
  }
  return std::move(resampler.samples());
}

}  // namespace facet
