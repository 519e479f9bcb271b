// The GPU's decoder of GGUF's block formats, run on the host, against kernels/dequantize.h.
#include "kernels/cuda/block_value.h"

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/dequantize.h"

namespace facet::cuda {
namespace {

// Given random blocks, expect each value bit for bit (NaN for NaN).
template <int kType>
void ExpectSameValues() {
  const auto type = static_cast<TensorType>(kType);
  const TensorTypeInfo& info = InfoOf(type);
  ASSERT_EQ(kBlockElements<kType>, info.block_elements) << info.name;
  ASSERT_EQ(kBlockBytes<kType>, info.block_bytes) << info.name;
  constexpr int kBlocks = 500;
  std::mt19937 random(20 + kType);
  std::string blocks(size_t{kBlocks} * info.block_bytes, '\0');
  for (char& byte : blocks) byte = static_cast<char>(random());
  std::vector<float> expected(size_t{kBlocks} * info.block_elements);
  Dequantize(type, blocks.data(), static_cast<int64_t>(expected.size()), expected.data());
  const auto* bytes = reinterpret_cast<const uint8_t*>(blocks.data());
  for (size_t i = 0; i < expected.size(); ++i) {
    const float actual = BlockValue<kType>(bytes + i / info.block_elements * info.block_bytes,
                                           static_cast<int>(i % info.block_elements));
    if (std::isnan(expected[i]) && std::isnan(actual)) continue;
    ASSERT_EQ(BitsOf(actual), BitsOf(expected[i])) << info.name << " value " << i;
  }
}

template <int... kTypes>
void ExpectSameValuesOfAll(std::integer_sequence<int, kTypes...>) {
  (ExpectSameValues<kTypes>(), ...);
}

TEST(BlockValueTest, AllFormatsMatchTheHostsDecoder) {
  ExpectSameValuesOfAll(
      std::integer_sequence<int, 0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 20, 23, 30>());
}

}  // namespace
}  // namespace facet::cuda
