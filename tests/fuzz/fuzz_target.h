#ifndef FACET_TESTS_FUZZ_FUZZ_TARGET_H_
#define FACET_TESTS_FUZZ_FUZZ_TARGET_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

// The function that libFuzzer, and replay_test of the default build, call with one input. Each file
// of this folder named after a reader defines it, for a binary of its own. It gives the input to
// the reader and CHECKs what must hold whatever the bytes are; it keeps no state between calls.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace facet {

inline absl::string_view AsText(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Whether `part` lies within `whole`.
inline bool LiesWithin(absl::string_view part, absl::string_view whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

}  // namespace facet

#endif  // FACET_TESTS_FUZZ_FUZZ_TARGET_H_
