#include "worker/philox.h"

namespace facet {

PhiloxBlock Philox4x32(const PhiloxBlock& counter, uint32_t key0, uint32_t key1) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  PhiloxBlock x = counter;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = kMultiplier0 * x.words[0];
    const uint64_t product1 = kMultiplier1 * x.words[2];
    x = {{static_cast<uint32_t>(product1 >> 32) ^ x.words[1] ^ key0,
          static_cast<uint32_t>(product1),
          static_cast<uint32_t>(product0 >> 32) ^ x.words[3] ^ key1,
          static_cast<uint32_t>(product0)}};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return x;
}

double PhiloxUniform(uint64_t seed, uint32_t stream, uint64_t position) {
  const PhiloxBlock block = Philox4x32(
      {{static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), stream, 0}},
      static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  const uint64_t bits = (uint64_t{block.words[0]} << 32 | block.words[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace facet
