#include "model/media/audio_frames.h"

namespace facet {

AudioFrames CutAudioFrames(absl::Span<const float> samples) {
  AudioFrames out;
  out.frames = static_cast<int>((samples.size() + kAudioFrameSamples - 1) / kAudioFrameSamples);
  out.values.assign(samples.begin(), samples.end());
  out.values.resize(size_t{kAudioFrameSamples} * out.frames, 0.0F);
  return out;
}

}  // namespace facet
