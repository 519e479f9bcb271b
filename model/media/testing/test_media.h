#ifndef FACET_MODEL_MEDIA_TESTING_TEST_MEDIA_H_
#define FACET_MODEL_MEDIA_TESTING_TEST_MEDIA_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// Files, and what reading them costs, for tests of decoders.

namespace facet::testing {

// A file of tests/testdata/media.
std::string ReadMedia(absl::string_view name);

// A file of tests/testdata/golden.
std::string ReadGolden(absl::string_view name);

// SHA-256 in hex, as the golden files write it.
std::string Sha256Hex(absl::string_view bytes);

// Bytes that a vector holds.
template <typename T>
absl::string_view AsBytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), sizeof(T) * values.size()};
}

// The processor time of `work` on this thread.
double CpuSeconds(const std::function<void()>& work);

// By how much `work` raised the process' peak memory. The peak never sinks, so of several in one
// process each shows only what goes past those before.
int64_t PeakMemoryGrowthBytes(const std::function<void()>& work);

// `file` cut at every 16th of its length, and `flips` copies of it in which one to eight bytes are
// changed, as `seed` says. Each is its own allocation, so that a read past the end is seen.
std::vector<std::string> DamagedCopies(absl::string_view file, int flips, uint32_t seed);

// A PNG of these sides from one form of colour (the IHDR chunk's byte) with 8 bits a sample, and
// the zlib stream `compressed` for its data.
std::string MakePng(uint32_t width, uint32_t height, char color_type, absl::string_view compressed);

// The PNG `file` with a chunk more, right after its header.
std::string AddPngChunk(absl::string_view file, absl::string_view type, absl::string_view data);

// A zlib stream of `bytes` zeros.
std::string CompressedZeros(int64_t bytes);

}  // namespace facet::testing

#endif  // FACET_MODEL_MEDIA_TESTING_TEST_MEDIA_H_
