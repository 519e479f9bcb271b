#ifndef FACET_MODEL_TESTING_RANDOM_ADAPTER_H_
#define FACET_MODEL_TESTING_RANDOM_ADAPTER_H_

#include <cstdint>
#include <string>

#include "model/config.h"

namespace facet::testing {

// Writes an adapter for `base` as PEFT does, into an empty folder of the test's that is called
// `name`, and gives back its path. Of random values (F32 or BF16) in some of the matrices, or all
// in BF16 if it is `whole`, large enough to change what a small random model says. Equal seeds give
// equal adapters.
std::string WriteRandomAdapter(const std::string& name, const TextConfig& base, int rank,
                               uint32_t seed, bool whole = false);

}  // namespace facet::testing

#endif  // FACET_MODEL_TESTING_RANDOM_ADAPTER_H_
