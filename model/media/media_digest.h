#ifndef FACET_MODEL_MEDIA_MEDIA_DIGEST_H_
#define FACET_MODEL_MEDIA_MEDIA_DIGEST_H_

#include <array>
#include <cstdint>

#include "model/media/audio_frames.h"
#include "model/media/image_patches.h"

namespace facet {

// What the keys and values of a medium's tokens were computed from, for page keys: SHA-256 over the
// kind, both sides of the grid (4 bytes each, little endian) and the bytes that the wire carries.
// Equal files, or files that look the same once resized, share it; it is the same on all machines
// (floats are hashed in their little-endian form).
using MediaDigest = std::array<uint8_t, 32>;

// The numbers are part of the digest.
enum class MediaKind : uint32_t { kImage = 1, kAudio = 2, kVideoFrame = 3 };

// `kind` is kImage or kVideoFrame: a frame's patches under the token of an image or of a video are
// the same to the model, but not the tokens around them.
MediaDigest DigestPatches(MediaKind kind, const ImagePatches& patches);

// The grid of a sound is its frames by 1.
MediaDigest DigestAudio(const AudioFrames& audio);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_MEDIA_DIGEST_H_
