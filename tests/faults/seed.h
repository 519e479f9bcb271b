#ifndef FACET_TESTS_FAULTS_SEED_H_
#define FACET_TESTS_FAULTS_SEED_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace facet::testing {

// What a fault's times and places follow from. Printed; FACET_SEED sets it.
inline std::mt19937 SeededRandom() {
  const char* given = std::getenv("FACET_SEED");
  const auto seed = given == nullptr ? std::random_device{}()
                                     : static_cast<uint32_t>(std::strtoul(given, nullptr, 10));
  std::printf("seed %u\n", seed);
  return std::mt19937(seed);
}

}  // namespace facet::testing

#endif  // FACET_TESTS_FAULTS_SEED_H_
