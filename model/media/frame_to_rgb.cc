#include "model/media/frame_to_rgb.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/media/jpeg_color.h"

extern "C" {
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

namespace facet {
namespace {

struct FreeScaler {
  void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};

const AVPixFmtDescriptor& Descriptor(const AVFrame& frame) {
  const auto* descriptor = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  CHECK(descriptor != nullptr) << frame.format;
  return *descriptor;
}

// Whether a picture has luma and chroma, and is not just red, green and blue, grey or indices.
bool HasChroma(const AVPixFmtDescriptor& descriptor) {
  return (descriptor.flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL)) == 0 &&
         descriptor.nb_components >= 3;
}

// `value` of `alpha` 0 to 255 in front of white, rounded: Pillow's alpha_composite gives the same
// for all 65,536 pairs.
uint8_t OnWhite(unsigned value, unsigned alpha) {
  return static_cast<uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

// The samples of one component of one row, as bytes.
void ReadComponent(const AVFrame& frame, const AVPixFmtDescriptor& descriptor, int y, int component,
                   std::vector<uint16_t>& scratch, uint8_t* out) {
  const AVComponentDescriptor& place = descriptor.comp[component];
  if (place.depth == 8 && (descriptor.flags & AV_PIX_FMT_FLAG_BITSTREAM) == 0) {
    const uint8_t* in =
        frame.data[place.plane] + int64_t{y} * frame.linesize[place.plane] + place.offset;
    for (int x = 0; x < frame.width; ++x, in += place.step) out[x] = *in;
    return;
  }
  av_read_image_line2(scratch.data(), const_cast<const uint8_t**>(frame.data), frame.linesize,
                      &descriptor, 0, y, component, frame.width, 0, sizeof(scratch[0]));
  const unsigned max = (1U << place.depth) - 1;
  for (int x = 0; x < frame.width; ++x) {
    out[x] = static_cast<uint8_t>(place.depth > 8 ? scratch[x] >> (place.depth - 8)
                                                  : scratch[x] * 255U / max);
  }
}

// Colours of a palette, four bytes each in FFmpeg's order: blue, green, red, alpha.
void PaletteRow(const AVFrame& frame, int y, uint8_t* out) {
  const uint8_t* in = frame.data[0] + int64_t{y} * frame.linesize[0];
  for (int x = 0; x < frame.width; ++x, out += 3) {
    const uint8_t* color = frame.data[1] + size_t{4} * in[x];
    for (int channel = 0; channel < 3; ++channel) {
      out[channel] = OnWhite(color[2 - channel], color[3]);
    }
  }
}

RgbImage ReadExactly(const AVFrame& frame) {
  const AVPixFmtDescriptor& descriptor = Descriptor(frame);
  const int components = descriptor.nb_components;
  const bool alpha = (descriptor.flags & AV_PIX_FMT_FLAG_ALPHA) != 0;
  RgbImage image = {frame.width, frame.height, {}};
  image.rgb.resize(size_t{3} * frame.width * frame.height);
  std::vector<uint8_t> samples(size_t{4} * frame.width);  // [component, width]
  std::vector<uint16_t> scratch(frame.width);
  for (int y = 0; y < frame.height; ++y) {
    uint8_t* out = &image.rgb[size_t{3} * frame.width * y];
    if ((descriptor.flags & AV_PIX_FMT_FLAG_PAL) != 0) {
      PaletteRow(frame, y, out);
      continue;
    }
    for (int i = 0; i < components; ++i) {
      ReadComponent(frame, descriptor, y, i, scratch, &samples[size_t(i) * frame.width]);
    }
    const uint8_t* in[3];
    for (int channel = 0; channel < 3; ++channel) {
      in[channel] = &samples[size_t(components >= 3 ? channel : 0) * frame.width];
    }
    const uint8_t* opacity = alpha ? &samples[size_t(components - 1) * frame.width] : nullptr;
    for (int x = 0; x < frame.width; ++x, out += 3) {
      for (int channel = 0; channel < 3; ++channel) {
        out[channel] = alpha ? OnWhite(in[channel][x], opacity[x]) : in[channel][x];
      }
    }
  }
  return image;
}

// The picture in one of libswscale's own formats.
absl::StatusOr<Frame> Convert(const AVFrame& frame, AVPixelFormat format) {
  // Chroma interpolated between its samples and everything rounded, as still picture decoders do.
  // (libswscale's bilinear takes a shortcut, and the nearest chroma of each column.)
  constexpr int kFlags =
      SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_BITEXACT;
  const std::unique_ptr<SwsContext, FreeScaler> scaler(
      sws_getContext(frame.width, frame.height, static_cast<AVPixelFormat>(frame.format),
                     frame.width, frame.height, format, kFlags, nullptr, nullptr, nullptr));
  if (scaler == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("pixel format ", Descriptor(frame).name, " has no way to RGB"));
  }
  int* inverse = nullptr;
  int* table = nullptr;
  int full_range_in, full_range_out, brightness, contrast, saturation;
  if (sws_getColorspaceDetails(scaler.get(), &inverse, &full_range_in, &table, &full_range_out,
                               &brightness, &contrast, &saturation) >= 0) {
    if (frame.color_range == AVCOL_RANGE_JPEG) full_range_in = 1;
    sws_setColorspaceDetails(scaler.get(), sws_getCoefficients(frame.colorspace), full_range_in,
                             table, full_range_out, brightness, contrast, saturation);
  }
  Frame out(av_frame_alloc());
  CHECK(out != nullptr) << "out of memory";
  out->width = frame.width;
  out->height = frame.height;
  out->format = format;
  // Rows padded for libswscale's vectors, which write past the last pixel.
  constexpr int kAlignment = 64;
  if (const int code = av_frame_get_buffer(out.get(), kAlignment); code < 0) {
    return FfmpegError("memory for pixels", code);
  }
  const int rows = sws_scale(scaler.get(), frame.data, frame.linesize, 0, frame.height, out->data,
                             out->linesize);
  if (rows < 0) return FfmpegError("conversion to RGB", rows);
  return out;
}

}  // namespace

absl::StatusOr<RgbImage> FrameToRgb(Frame frame) {
  if (IsJpegColor(*frame)) return JpegToRgb(*frame);
  const AVPixFmtDescriptor& descriptor = Descriptor(*frame);
  if (HasChroma(descriptor)) {
    const bool alpha = (descriptor.flags & AV_PIX_FMT_FLAG_ALPHA) != 0;
    ASSIGN_OR_RETURN(frame, Convert(*frame, alpha ? AV_PIX_FMT_RGBA : AV_PIX_FMT_RGB24));
  }
  return ReadExactly(*frame);
}

}  // namespace facet
