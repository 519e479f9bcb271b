// A sound's file: an error, or samples in [-1, 1], at most as many as the limit says.

#include "base/check.h"
#include "model/media/audio_decoder.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
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
