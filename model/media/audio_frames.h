#ifndef FACET_MODEL_MEDIA_AUDIO_FRAMES_H_
#define FACET_MODEL_MEDIA_AUDIO_FRAMES_H_

#include <vector>

#include "absl/types/span.h"

namespace facet {

// The model hears sound in pieces of 40 ms, one token each.
inline constexpr int kAudioFrameSamples = 640;

// A sound as the model takes it, and as the wire carries it.
struct AudioFrames {
  int frames = 0;             // = tokens
  std::vector<float> values;  // host, [frames, kAudioFrameSamples]
};

// Cuts samples of kAudioSamplesPerSecond into frames, the last filled up with zeros.
AudioFrames CutAudioFrames(absl::Span<const float> samples);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_AUDIO_FRAMES_H_
