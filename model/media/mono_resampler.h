#ifndef FACET_MODEL_MEDIA_MONO_RESAMPLER_H_
#define FACET_MODEL_MEDIA_MONO_RESAMPLER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "model/media/ffmpeg.h"

extern "C" {
#include <libavutil/channel_layout.h>
#include <libswresample/swresample.h>
}

namespace facet {

// Turns decoded sound of any form into one channel of floats at one rate, and collects it. The form
// may change from frame to frame, as in files glued together. Belongs to one thread.
class MonoResampler {
 public:
  // Collects `samples_max` samples at most.
  MonoResampler(int samples_per_second, int64_t samples_max);

  // INVALID_ARGUMENT for a form that libswresample does not take; OUT_OF_RANGE when there are more
  // than `samples_max`, before memory is taken for them.
  absl::Status Add(const AVFrame& frame);

  // What the filter still holds. No Add may follow.
  absl::Status Finish();

  // All samples until now, in [-1, 1].
  std::vector<float>& samples() { return samples_; }

 private:
  struct FreeResampler {
    void operator()(SwrContext* resampler) const { swr_free(&resampler); }
  };
  // The form of a frame.
  struct Form {
    int format = -1;
    int samples_per_second = 0;
    int channels = 0;
    bool operator==(const Form& other) const = default;
  };

  absl::Status Configure(const AVFrame& frame);
  // `frame` null: what the filter holds.
  absl::Status Convert(const AVFrame* frame);

  const int samples_per_second_;
  const int64_t samples_max_;
  std::unique_ptr<SwrContext, FreeResampler> resampler_;
  Form form_;  // that `resampler_` takes
  std::vector<float> samples_;
};

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_MONO_RESAMPLER_H_
