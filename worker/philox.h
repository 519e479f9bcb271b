#ifndef FACET_WORKER_PHILOX_H_
#define FACET_WORKER_PHILOX_H_

#include <cstdint>

namespace facet {

// A uniform number in [0, 1) that depends on nothing but its arguments, so that a resumed or
// re-batched request draws what it would have drawn. Philox4x32-10 (Salmon et al. 2011, "Parallel
// random numbers: as easy as 1, 2, 3") with the key `seed` and the counter (position, stream).
double PhiloxUniform(uint64_t seed, uint32_t stream, uint64_t position);

// The generator itself, for its published test vectors: counter and key in, four words out.
struct PhiloxBlock {
  uint32_t words[4];
};
PhiloxBlock Philox4x32(const PhiloxBlock& counter, uint32_t key0, uint32_t key1);

}  // namespace facet

#endif  // FACET_WORKER_PHILOX_H_
