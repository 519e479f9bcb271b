#include "model/media/media_digest.h"

#include <openssl/sha.h>

#include <bit>
#include <string>

#include "absl/strings/string_view.h"

namespace facet {
namespace {

void AppendNumber(std::string& out, uint32_t number) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(number >> shift));
}

MediaDigest Digest(MediaKind kind, int grid_width, int grid_height, absl::string_view values) {
  std::string bytes;
  bytes.reserve(12 + values.size());
  AppendNumber(bytes, static_cast<uint32_t>(kind));
  AppendNumber(bytes, static_cast<uint32_t>(grid_width));
  AppendNumber(bytes, static_cast<uint32_t>(grid_height));
  bytes.append(values.data(), values.size());
  MediaDigest digest;
  static_assert(sizeof(digest) == SHA256_DIGEST_LENGTH, "a digest is all of a SHA-256");
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return digest;
}

}  // namespace

MediaDigest DigestPatches(MediaKind kind, const ImagePatches& patches) {
  return Digest(kind, patches.grid_width, patches.grid_height,
                {reinterpret_cast<const char*>(patches.values.data()), patches.values.size()});
}

MediaDigest DigestAudio(const AudioFrames& audio) {
  static_assert(std::endian::native == std::endian::little, "floats are hashed as they lie");
  return Digest(
      MediaKind::kAudio, audio.frames, 1,
      {reinterpret_cast<const char*>(audio.values.data()), sizeof(float) * audio.values.size()});
}

}  // namespace facet
