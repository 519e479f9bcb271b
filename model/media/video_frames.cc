#include "model/media/video_frames.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/media/cpu_deadline.h"
#include "model/media/ffmpeg.h"
#include "model/media/frame_to_rgb.h"
#include "model/media/image_orientation.h"
#include "model/media/image_resize.h"
#include "model/media/video_layout.h"

extern "C" {
#include <libavutil/display.h>
}

namespace facet {
namespace {

constexpr char kFormats[] = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi";
constexpr char kCodecs[] = "h264,hevc,vp8,vp9,libdav1d,mpeg4,mjpeg";

struct Stream {
  std::unique_ptr<MediaFile> media;
  AVStream* stream;  // owned by `media`
};

absl::StatusOr<Stream> OpenStream(absl::string_view file, const CpuDeadline& deadline) {
  ASSIGN_OR_RETURN(std::unique_ptr<MediaFile> media,
                   MediaFile::Open("video", file, kFormats, kCodecs, deadline));
  ASSIGN_OR_RETURN(AVStream * stream, media->SelectStream(AVMEDIA_TYPE_VIDEO));
  return Stream{std::move(media), stream};
}

int64_t Time(const AVPacket& packet) {
  return packet.pts != AV_NOPTS_VALUE ? packet.pts : packet.dts;
}

// The times of the frames, in the stream's unit and ascending, from the packets alone: without
// decoding, a file that is too long costs next to nothing.
absl::StatusOr<std::vector<int64_t>> ReadTimes(const Stream& in, const VideoLimits& limits) {
  const Packet packet(av_packet_alloc());
  CHECK(packet != nullptr) << "out of memory";
  std::vector<int64_t> times;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, in.media->ReadPacket(packet.get()));
    if (!more) break;
    // Frames before the start of an edit are decoded and not shown.
    if ((packet->flags & AV_PKT_FLAG_DISCARD) != 0 || packet->size == 0) continue;
    if (Time(*packet) == AV_NOPTS_VALUE) {
      return absl::InvalidArgumentError("video: has a frame without a time");
    }
    if (static_cast<int>(times.size()) == limits.frames_max) {
      return absl::InvalidArgumentError(
          absl::StrCat("video: has more frames than the limit of ", limits.frames_max));
    }
    times.push_back(Time(*packet));
  }
  if (times.empty()) return absl::InvalidArgumentError("video: holds no frames");
  std::sort(times.begin(), times.end());
  return times;
}

// How long the frames are shown; the last one as long as the others on average.
double Seconds(const std::vector<int64_t>& times, AVRational unit) {
  const double span =
      (static_cast<double>(times.back()) - static_cast<double>(times.front())) * av_q2d(unit);
  if (times.size() == 1) return 0;
  return span / static_cast<double>(times.size() - 1) * static_cast<double>(times.size());
}

absl::StatusOr<std::vector<int64_t>> WantedTimes(const std::vector<int64_t>& times, AVRational unit,
                                                 const VideoLimits& limits) {
  const double seconds = Seconds(times, unit);
  if (!(seconds <= limits.seconds_max + kVideoClockSlackSeconds)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "video: lasts ", std::ceil(seconds), " s, over the limit of ", limits.seconds_max, " s"));
  }
  const int total = static_cast<int>(times.size());
  ASSIGN_OR_RETURN(const std::vector<int> indices,
                   VideoFrameIndices(total, VideoFrameCount(total, seconds)));
  std::vector<int64_t> wanted;
  wanted.reserve(indices.size());
  for (const int index : indices) wanted.push_back(times[index]);
  return wanted;
}

// EXIF's number for the turn that the file asks of a player.
int Orientation(const AVStream& stream) {
  size_t bytes = 0;
  const uint8_t* matrix = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, &bytes);
  if (matrix == nullptr || bytes < 9 * sizeof(int32_t)) return 1;
  // Degrees against the clock; not a number for a matrix that turns nothing.
  const double turn = av_display_rotation_get(reinterpret_cast<const int32_t*>(matrix));
  if (!std::isfinite(turn)) return 1;
  constexpr int kOrientationByQuarters[] = {1, 8, 3, 6};
  return kOrientationByQuarters[std::lround(turn / 90 + 4) % 4];
}

// Takes decoded frames in the order they are shown, and keeps the wanted ones.
class FrameCollector {
 public:
  FrameCollector(std::vector<int64_t> wanted, double unit_seconds, int orientation)
      : wanted_(std::move(wanted)), unit_seconds_(unit_seconds), orientation_(orientation) {}

  bool Wants(int64_t time) const {
    return std::binary_search(wanted_.begin(), wanted_.end(), time);
  }
  bool Complete() const { return frames_.size() == wanted_.size(); }
  std::vector<VideoFrame>& frames() { return frames_; }

  absl::Status Add(Frame frame) {
    // A packet may hold no frame to be shown; then the next one stands for it.
    const int64_t time = frame->best_effort_timestamp;
    if (Complete() || time < wanted_[frames_.size()]) return absl::OkStatus();
    ASSIGN_OR_RETURN(RgbImage image, FrameToRgb(std::move(frame)));
    image = Upright(std::move(image), orientation_);
    if (!size_.has_value()) {
      ASSIGN_OR_RETURN(size_, ResizedImageSize({image.width, image.height}, kVideoFrameTokensMax));
    }
    const double seconds =
        (static_cast<double>(time) - static_cast<double>(wanted_[0])) * unit_seconds_;
    frames_.push_back({VideoTimestamp(seconds), CutPatches(ResizeImage(std::move(image), *size_))});
    return absl::OkStatus();
  }

 private:
  const std::vector<int64_t> wanted_;  // ascending, not empty
  const double unit_seconds_;
  const int orientation_;
  std::optional<ImageSize> size_;  // of the first frame, and so of all
  std::vector<VideoFrame> frames_;
};

// `packet` is null at the end of the file.
absl::Status DecodePacket(AVCodecContext* context, const AVPacket* packet,
                          FrameCollector& collector) {
  int code = avcodec_send_packet(context, packet);
  while (code >= 0) {
    Frame frame(av_frame_alloc());
    CHECK(frame != nullptr) << "out of memory";
    code = avcodec_receive_frame(context, frame.get());
    if (code >= 0) RETURN_IF_ERROR(collector.Add(std::move(frame)));
  }
  return code == AVERROR(EAGAIN) || code == AVERROR_EOF ? absl::OkStatus()
                                                        : FfmpegError("video: damaged", code);
}

absl::Status DecodeStream(const Stream& in, const VideoLimits& limits, FrameCollector& collector) {
  ASSIGN_OR_RETURN(const CodecContext context, OpenDecoder(*in.stream, kCodecs, limits.pixels_max));
  const Packet packet(av_packet_alloc());
  CHECK(packet != nullptr) << "out of memory";
  while (!collector.Complete()) {
    ASSIGN_OR_RETURN(const bool more, in.media->ReadPacket(packet.get()));
    // A frame that is not wanted, and that no other is made from, is not worth decoding.
    const bool wanted = !more || collector.Wants(Time(*packet));
    context->skip_frame = wanted ? AVDISCARD_DEFAULT : AVDISCARD_NONREF;
    RETURN_IF_ERROR(DecodePacket(context.get(), more ? packet.get() : nullptr, collector));
    if (!more) break;
  }
  return collector.Complete()
             ? absl::OkStatus()
             : absl::InvalidArgumentError("video: damaged, frames cannot be decoded");
}

// What decoding would cost, as far as the file admits it.
absl::Status CheckWork(const AVCodecParameters& parameters, size_t frames,
                       const VideoLimits& limits) {
  const int64_t pixels = int64_t{parameters.width} * parameters.height * int64_t(frames);
  if (pixels <= limits.total_pixels_max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("video: ", frames, " frames of ", parameters.width, " x ", parameters.height,
                   " pixels are over the limit of ", limits.total_pixels_max, " pixels in all"));
}

absl::Status CheckSides(const AVCodecParameters& parameters, const VideoLimits& limits) {
  if (int64_t{parameters.width} * parameters.height <= limits.pixels_max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("video: ", parameters.width, " x ", parameters.height,
                   " pixels a frame is over the limit of ", limits.pixels_max));
}

absl::StatusOr<std::vector<VideoFrame>> Decode(absl::string_view file, const VideoLimits& limits) {
  const CpuDeadline deadline(limits.cpu_ms_max);
  std::vector<int64_t> wanted;
  {
    ASSIGN_OR_RETURN(const Stream in, OpenStream(file, deadline));
    RETURN_IF_ERROR(CheckSides(*in.stream->codecpar, limits));
    ASSIGN_OR_RETURN(const std::vector<int64_t> times, ReadTimes(in, limits));
    RETURN_IF_ERROR(CheckWork(*in.stream->codecpar, times.size(), limits));
    ASSIGN_OR_RETURN(wanted, WantedTimes(times, in.stream->time_base, limits));
  }
  ASSIGN_OR_RETURN(const Stream in, OpenStream(file, deadline));
  FrameCollector collector(std::move(wanted), av_q2d(in.stream->time_base),
                           Orientation(*in.stream));
  RETURN_IF_ERROR(DecodeStream(in, limits, collector));
  return std::move(collector.frames());
}

}  // namespace

absl::StatusOr<std::vector<VideoFrame>> DecodeVideo(absl::string_view file,
                                                    const VideoLimits& limits) {
  if (static_cast<int64_t>(file.size()) > limits.bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("video: ", file.size(), " bytes is over the limit of ", limits.bytes_max));
  }
  absl::StatusOr<std::vector<VideoFrame>> frames = Decode(file, limits);
  if (frames.ok() || absl::StartsWith(frames.status().message(), "video")) return frames;
  return absl::InvalidArgumentError(absl::StrCat("video: ", frames.status().message()));
}

}  // namespace facet
