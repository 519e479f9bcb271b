// Gives every file of the corpus that FACET_FUZZ_CORPUS names to the fuzz target linked here, so
// that what a fuzzer once found is tested in each build, without a fuzzer.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "gtest/gtest.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

// Given every input kept, and each of them cut in half, expect that no CHECK fails.
TEST(FuzzCorpusTest, HoldsOnEveryInput) {
  const char* folder = std::getenv("FACET_FUZZ_CORPUS");
  ASSERT_NE(folder, nullptr);
  int inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    SCOPED_TRACE(entry.path().string());
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    for (const size_t size : {bytes.size(), bytes.size() / 2}) {
      // A copy of just this size, so that AddressSanitizer sees a read past its end.
      const std::string input = bytes.substr(0, size);
      EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), size), 0);
    }
    ++inputs;
  }
  EXPECT_GT(inputs, 0) << folder << " holds no input";
}

}  // namespace
