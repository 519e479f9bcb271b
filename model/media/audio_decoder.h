#ifndef FACET_MODEL_MEDIA_AUDIO_DECODER_H_
#define FACET_MODEL_MEDIA_AUDIO_DECODER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

inline constexpr int kAudioSamplesPerSecond = 16'000;

// What one sound may take at most.
struct AudioLimits {
  int64_t bytes_max = int64_t{25} << 20;  // of the file: 30 s of 96 kHz, 32-bit stereo and more
  int seconds_max = 30;                   // of sound: 750 tokens, what the model was made for
  int64_t cpu_ms_max = 1000;
};

// Decodes a WAV, MP3, FLAC, OGG (Opus, Vorbis, FLAC) or M4A (AAC, ALAC) file to one channel of
// 16,000 samples a second, each in [-1, 1]; the mean of the channels. 16-bit samples of just that
// form come out exactly as sample / 32768. INVALID_ARGUMENT, which begins with "audio", says what
// is wrong with `file` (one without a single sample, too) or which limit it passes; a sound longer
// than the limit is refused while it is decoded, whatever its header says, and never cut. Takes
// memory for the limit at most. Thread-safe; one thread's work.
absl::StatusOr<std::vector<float>> DecodeAudio(absl::string_view file,
                                               const AudioLimits& limits = {});

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_AUDIO_DECODER_H_
