// A sound's file: an error, or samples in [-1, 1], at most as many as the limit says.
//
// FFmpeg takes memory for what an MP4's tables claim, up to limits that are larger than a fuzzer's,
// so here FFmpeg's own limit is set below that.

#include "base/check.h"
#include "model/media/audio_decoder.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" {
#include <libavutil/mem.h>
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  [[maybe_unused]] static const bool once = [] {
    (void)facet::DecodeAudio("");  // sets the process' limit
    av_max_alloc(size_t{4} << 20);
    return true;
  }();
  const facet::AudioLimits limits = {.seconds_max = 2};
  const auto samples = facet::DecodeAudio(facet::AsText(data, size), limits);
  if (!samples.ok()) {
    CHECK(!samples.status().message().empty());
    return 0;
  }
  CHECK(!samples->empty());
  CHECK_LE(samples->size(), size_t{facet::kAudioSamplesPerSecond} * limits.seconds_max);
  for (const float sample : *samples) CHECK(sample >= -1 && sample <= 1) << sample;
  return 0;
}
