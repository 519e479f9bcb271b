#include "router/text/token_cache.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "model/testing/real_vocabulary.h"

namespace facet {
namespace {

const Tokenizer& RealTokenizer() {
  static const auto* tokenizer = new Tokenizer(testing::RealVocabulary());
  return *tokenizer;
}

// Words, lines, numbers, other scripts, broken UTF-8, long runs, and special pieces whole and torn.
std::string RandomText(std::mt19937& random, size_t bytes) {
  static const std::vector<std::string> parts = {"the ",
                                                 "Straße ",
                                                 "naïve",
                                                 " 12345",
                                                 "\n\n",
                                                 "    ",
                                                 "\t",
                                                 ">",
                                                 "<",
                                                 "<|",
                                                 "|>",
                                                 "<turn|>",
                                                 "<|turn>user\n",
                                                 "<|turn>mo",
                                                 "<|tool_response>",
                                                 "tool_response>",
                                                 "<eos>",
                                                 "<|\"|>",
                                                 "漢字",
                                                 "emoji 🚀🚀",
                                                 "\xff\xfe",
                                                 "\xe2\x96",
                                                 "▁",
                                                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                                 "function(x) { return x + 1; }",
                                                 "https://example.org/a?b=c&d=e",
                                                 "<|think|>",
                                                 "<image|>"};
  std::string text;
  while (text.size() < bytes) text += parts[random() % parts.size()];
  return text;
}

TEST(TokenCacheTest, GivesWhatTheTokenizerGives) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  TokenCache cache(&RealTokenizer(), {size_t{1} << 20, 64});
  for (int i = 0; i < 200; ++i) {
    std::string text = RandomText(random, 20 + random() % 3000);
    for (int turn = 0; turn < 3; ++turn) {
      for (const bool special : {true, false}) {
        const Tokenizer::Options options{turn == 1, special};
        ASSERT_EQ(cache.Encode(text, options), RealTokenizer().Encode(text, options)) << text;
      }
      text += RandomText(random, 1 + random() % 300);
    }
  }
}

TEST(TokenCacheTest, CutsWhereTheBeginningIsTheSame) {
  TokenCache cache(&RealTokenizer(), {size_t{1} << 20, 256});
  std::mt19937 random(7);
  const std::string text = RandomText(random, 20'000);
  cache.Encode(text, {});
  const size_t kept = cache.size_bytes();
  EXPECT_GT(kept, text.size());
  // What is longer adds what is new alone.
  cache.Encode(text + "and some more words behind it", {});
  EXPECT_LT(cache.size_bytes(), kept + 4 * 256 * 4);
  cache.Encode(absl::string_view(text).substr(0, 10'000), {});
  EXPECT_LT(cache.size_bytes(), kept + 4 * 256 * 4);
}

TEST(TokenCacheTest, KeepsToItsBoundAndForgetsTheOldest) {
  constexpr size_t kBytesMax = 20'000;
  TokenCache cache(&RealTokenizer(), {kBytesMax, 128});
  std::mt19937 random(9);
  for (int i = 0; i < 50; ++i) {
    const std::string text = RandomText(random, 5'000);
    EXPECT_EQ(cache.Encode(text, {}), RealTokenizer().Encode(text));
    EXPECT_LE(cache.size_bytes(), kBytesMax);
  }
  EXPECT_GT(cache.size_bytes(), kBytesMax / 2);
  TokenCache none(&RealTokenizer(), {0, 128});
  none.Encode(RandomText(random, 5'000), {});
  EXPECT_EQ(none.size_bytes(), 0);
}

TEST(TokenCacheTest, ABlockWithoutACutIsNotKeptBeyondTheBound) {
  TokenCache cache(&RealTokenizer(), {1'000, 64});
  const std::string text(100'000, 'a');
  EXPECT_EQ(cache.Encode(text, {}), RealTokenizer().Encode(text));
  EXPECT_EQ(cache.size_bytes(), 0);
}

TEST(TokenCacheTest, ManyThreadsAtOnce) {
  TokenCache cache(&RealTokenizer(), {50'000, 128});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&cache] {
      std::mt19937 random(11);
      for (int j = 0; j < 30; ++j) {
        const std::string text = RandomText(random, 4'000);
        EXPECT_EQ(cache.Encode(text, {}), RealTokenizer().Encode(text));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace facet
