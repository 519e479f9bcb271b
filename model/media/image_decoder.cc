#include "model/media/image_decoder.h"

#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/media/cpu_deadline.h"
#include "model/media/ffmpeg.h"
#include "model/media/frame_to_rgb.h"
#include "model/media/image_header.h"
#include "model/media/image_orientation.h"
#include "model/media/png_chunks.h"

namespace facet {
namespace {

AVCodecID Codec(ImageFormat format) {
  switch (format) {
    case ImageFormat::kBmp:
      return AV_CODEC_ID_BMP;
    case ImageFormat::kGif:
      return AV_CODEC_ID_GIF;
    case ImageFormat::kJpeg:
      return AV_CODEC_ID_MJPEG;
    case ImageFormat::kPng:
      return AV_CODEC_ID_PNG;
    case ImageFormat::kWebp:
      return AV_CODEC_ID_WEBP;
  }
  return AV_CODEC_ID_NONE;
}

std::string Name(const ImageHeader& header) {
  return absl::StrCat(ImageFormatName(header.format), " image");
}

absl::Status CheckLimits(const ImageHeader& header, const ImageLimits& limits) {
  const std::string size =
      absl::StrCat(Name(header), ": ", header.width, " x ", header.height, " pixels");
  if (header.width > limits.side_max || header.height > limits.side_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(size, " is over the limit of ", limits.side_max, " a side"));
  }
  const int64_t pixels = header.width * header.height;
  if (pixels > limits.pixels_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(size, " is over the limit of ", limits.pixels_max, " in all"));
  }
  if (pixels * header.scans > limits.scanned_pixels_max) {
    return absl::InvalidArgumentError(absl::StrCat(size, " in ", header.scans,
                                                   " scans is over the limit of ",
                                                   limits.scanned_pixels_max, " scanned pixels"));
  }
  return absl::OkStatus();
}

// Gives the whole file to the decoder as one packet, which is what it is for these formats.
absl::StatusOr<Frame> DecodeFrame(absl::string_view file, const ImageHeader& header,
                                  int64_t pixels_max) {
  ASSIGN_OR_RETURN(const CodecContext context, OpenDecoder(Codec(header.format), pixels_max));
  // Damage is an error, save in JPEG, where cameras and editors write odd segments that harm
  // nothing; ReadImageHeader has seen to it that a JPEG is whole.
  if (header.format != ImageFormat::kJpeg) {
    context->err_recognition = AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER | AV_EF_EXPLODE;
  }
  const Packet packet(av_packet_alloc());
  Frame frame(av_frame_alloc());
  CHECK(packet != nullptr && frame != nullptr) << "out of memory";
  int code = av_new_packet(packet.get(), static_cast<int>(file.size()));
  if (code < 0) return FfmpegError(Name(header), code);
  std::memcpy(packet->data, file.data(), file.size());
  packet->flags |= AV_PKT_FLAG_KEY;
  code = avcodec_send_packet(context.get(), packet.get());
  if (code >= 0) code = avcodec_send_packet(context.get(), nullptr);
  if (code >= 0) code = avcodec_receive_frame(context.get(), frame.get());
  if (code < 0) return FfmpegError(absl::StrCat(Name(header), ": damaged"), code);
  if (frame->decode_error_flags != 0 || (frame->flags & AV_FRAME_FLAG_CORRUPT) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(Name(header), ": damaged"));
  }
  return frame;
}

int Orientation(const AVFrame& frame) {
  const AVDictionaryEntry* entry = av_dict_get(frame.metadata, "Orientation", nullptr, 0);
  int orientation = 1;
  // SimpleAtoi leaves 0 in place of what is no number, and 0 means upright.
  if (entry != nullptr) (void)absl::SimpleAtoi(entry->value, &orientation);
  return orientation;
}

}  // namespace

absl::StatusOr<RgbImage> DecodeImage(absl::string_view file, const ImageLimits& limits) {
  if (static_cast<int64_t>(file.size()) > limits.bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("image: ", file.size(), " bytes is over the limit of ", limits.bytes_max));
  }
  const CpuDeadline deadline(limits.cpu_ms_max);
  ASSIGN_OR_RETURN(const ImageHeader header, ReadImageHeader(file));
  RETURN_IF_ERROR(CheckLimits(header, limits));
  std::string essential;
  if (header.format == ImageFormat::kPng) {
    ASSIGN_OR_RETURN(essential, EssentialPng(file, deadline));
    file = essential;
  }
  ASSIGN_OR_RETURN(Frame frame, DecodeFrame(file, header, limits.pixels_max));
  const int orientation = Orientation(*frame);
  ASSIGN_OR_RETURN(RgbImage image, FrameToRgb(std::move(frame)));
  return Upright(std::move(image), orientation);
}

}  // namespace facet
