#include "model/media/mono_resampler.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

extern "C" {
#include <libavutil/opt.h>
}

namespace facet {
namespace {

// Rates and channel counts that sound for people has. A rate of 1 Hz would be blown up 16,000-fold.
constexpr int kSamplesPerSecondMin = 2'000;
constexpr int kSamplesPerSecondMax = 384'000;
constexpr int kChannelsMax = 16;

}  // namespace

MonoResampler::MonoResampler(int samples_per_second, int64_t samples_max)
    : samples_per_second_(samples_per_second), samples_max_(samples_max) {}

absl::Status MonoResampler::Add(const AVFrame& frame) {
  const Form form = {frame.format, frame.sample_rate, frame.ch_layout.nb_channels};
  if (!(form == form_)) {
    RETURN_IF_ERROR(Finish());
    RETURN_IF_ERROR(Configure(frame));
    form_ = form;
  }
  return Convert(&frame);
}

absl::Status MonoResampler::Finish() {
  return resampler_ == nullptr ? absl::OkStatus() : Convert(nullptr);
}

absl::Status MonoResampler::Configure(const AVFrame& frame) {
  if (frame.sample_rate < kSamplesPerSecondMin || frame.sample_rate > kSamplesPerSecondMax) {
    return absl::InvalidArgumentError(absl::StrCat("sample rate ", frame.sample_rate,
                                                   " Hz is outside ", kSamplesPerSecondMin, " to ",
                                                   kSamplesPerSecondMax));
  }
  const int channels = frame.ch_layout.nb_channels;
  if (channels < 1 || channels > kChannelsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(channels, " channels, and at most ", kChannelsMax, " are taken"));
  }
  // The mean of all channels, whatever their places are called: so an unknown layout of that many.
  AVChannelLayout in = {};
  in.order = AV_CHANNEL_ORDER_UNSPEC;
  in.nb_channels = channels;
  AVChannelLayout out = {};
  av_channel_layout_default(&out, 1);
  SwrContext* resampler = nullptr;
  int code =
      swr_alloc_set_opts2(&resampler, &out, AV_SAMPLE_FMT_FLT, samples_per_second_, &in,
                          static_cast<AVSampleFormat>(frame.format), frame.sample_rate, 0, nullptr);
  resampler_.reset(resampler);
  if (code < 0) return FfmpegError("resampler", code);
  const std::vector<double> mean(channels, 1.0 / channels);
  if (channels > 1) {
    code = swr_set_matrix(resampler, mean.data(), channels);
    if (code < 0) return FfmpegError("resampler", code);
  }
  code = swr_init(resampler);
  return code < 0 ? FfmpegError("resampler", code) : absl::OkStatus();
}

absl::Status MonoResampler::Convert(const AVFrame* frame) {
  const int in_samples = frame == nullptr ? 0 : frame->nb_samples;
  const int out_samples_max = swr_get_out_samples(resampler_.get(), in_samples);
  if (out_samples_max < 0) return FfmpegError("resampler", out_samples_max);
  // One frame is never much longer than the whole may be; the rest of the bound is below.
  if (out_samples_max > 2 * samples_max_ + samples_per_second_) {
    return absl::OutOfRangeError("too long");
  }
  const size_t before = samples_.size();
  samples_.resize(before + out_samples_max);
  auto* to = reinterpret_cast<uint8_t*>(samples_.data() + before);
  const uint8_t** from =
      frame == nullptr ? nullptr : const_cast<const uint8_t**>(frame->extended_data);
  const int count = swr_convert(resampler_.get(), &to, out_samples_max, from, in_samples);
  if (count < 0) return FfmpegError("resampler", count);
  samples_.resize(before + count);
  for (size_t i = before; i < samples_.size(); ++i) {
    if (std::isnan(samples_[i])) return absl::InvalidArgumentError("a sample is not a number");
    samples_[i] = std::clamp(samples_[i], -1.0F, 1.0F);
  }
  if (static_cast<int64_t>(samples_.size()) > samples_max_)
    return absl::OutOfRangeError("too long");
  return absl::OkStatus();
}

}  // namespace facet
