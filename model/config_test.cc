#include "model/config.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

// Six layers in the manner of the 12B model, with a hidden size of 64.
Metadata Valid() {
  Metadata metadata;
  metadata.Set("general.architecture", std::string("gemma4"));
  metadata.Set("gemma4.vocab_size", uint32_t{2048});
  metadata.Set("gemma4.block_count", uint32_t{6});
  metadata.Set("gemma4.context_length", uint32_t{8192});
  metadata.Set("gemma4.embedding_length", uint32_t{64});
  metadata.Set("gemma4.feed_forward_length", uint32_t{96});
  metadata.Set("gemma4.attention.head_count", uint32_t{4});
  metadata.Set("gemma4.attention.head_count_kv", std::vector<int32_t>{2, 2, 2, 2, 2, 1});
  metadata.Set("gemma4.attention.key_length", uint32_t{64});
  metadata.Set("gemma4.attention.key_length_swa", uint32_t{32});
  metadata.Set("gemma4.attention.sliding_window", uint32_t{32});
  metadata.Set("gemma4.attention.sliding_window_pattern",
               std::vector<bool>{true, true, true, true, true, false});
  metadata.Set("gemma4.attention.layer_norm_rms_epsilon", 1e-6f);
  metadata.Set("gemma4.rope.freq_base", 1e6f);
  metadata.Set("gemma4.rope.freq_base_swa", 1e4f);
  metadata.Set("gemma4.final_logit_softcapping", 30.0f);
  return metadata;
}

// Given a whole set of keys, expect every field.
TEST(ConfigTest, ReadsEveryField) {
  ASSERT_OK_AND_ASSIGN(const TextConfig config, ReadTextConfig(Valid()));
  EXPECT_EQ(config.vocab_size, 2048);
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.feed_forward_size, 96);
  EXPECT_EQ(config.query_heads, 4);
  EXPECT_EQ(config.context_tokens_max, 8192);
  EXPECT_EQ(config.sliding_window_tokens, 32);
  EXPECT_EQ(config.rms_epsilon, 1e-6f);
  EXPECT_EQ(config.logit_softcap, 30.0f);
  EXPECT_EQ(config.rope_theta_full, 1e6f);
  EXPECT_EQ(config.rope_theta_sliding, 1e4f);
  ASSERT_EQ(config.layers.size(), 6);
  EXPECT_TRUE(config.layers[4].sliding);
  EXPECT_EQ(config.layers[4].kv_heads, 2);
  EXPECT_EQ(config.layers[4].head_dim, 32);
  EXPECT_FALSE(config.layers[5].sliding);
  EXPECT_EQ(config.layers[5].kv_heads, 1);
  EXPECT_EQ(config.layers[5].head_dim, 64);
}

// Given one key missing, expect its name; all but these two are needed.
TEST(ConfigTest, NamesTheMissingKey) {
  const Metadata valid = Valid();
  for (const auto& [missing, unused] : valid.values()) {
    Metadata metadata;
    for (const auto& [key, value] : valid.values()) {
      if (key != missing) metadata.Set(key, value);
    }
    if (missing == "gemma4.final_logit_softcapping") {
      ASSERT_OK_AND_ASSIGN(const TextConfig config, ReadTextConfig(metadata));
      EXPECT_EQ(config.logit_softcap, 0);
    } else if (missing == "gemma4.vocab_size") {
      EXPECT_THAT(ReadTextConfig(metadata),
                  StatusIs(absl::StatusCode::kNotFound, HasSubstr("'tokenizer.ggml.tokens'")));
      metadata.Set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
      ASSERT_OK_AND_ASSIGN(const TextConfig config, ReadTextConfig(metadata));
      EXPECT_EQ(config.vocab_size, 2);
    } else {
      EXPECT_THAT(ReadTextConfig(metadata),
                  StatusIs(absl::StatusCode::kNotFound, HasSubstr("'" + missing + "'")));
    }
  }
}

struct WrongValue {
  const char* key;
  Metadata::Value value;
};

// Given one key out of range or of another type, expect its name.
TEST(ConfigTest, NamesTheKeyOutOfRange) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  using Ints = std::vector<int32_t>;
  const WrongValue cases[] = {
      {"general.architecture", std::string("gemma3")},
      {"general.architecture", uint32_t{4}},
      {"gemma4.vocab_size", uint32_t{0}},
      {"gemma4.vocab_size", uint32_t{1} << 30},
      {"gemma4.block_count", uint32_t{0}},
      {"gemma4.block_count", int32_t{-6}},
      {"gemma4.block_count", uint32_t{4294967295}},
      {"gemma4.block_count", std::numeric_limits<uint64_t>::max()},
      {"gemma4.context_length", uint32_t{0}},
      {"gemma4.context_length", std::string("long")},
      {"gemma4.embedding_length", uint32_t{65}},
      {"gemma4.embedding_length", uint32_t{1} << 31},
      {"gemma4.feed_forward_length", uint32_t{97}},
      {"gemma4.feed_forward_length", Ints{96, 96, 96, 96, 96}},
      {"gemma4.feed_forward_length", Ints{96, 96, 96, 96, 96, 112}},
      {"gemma4.feed_forward_length", 96.0f},
      {"gemma4.attention.head_count", uint32_t{0}},
      {"gemma4.attention.head_count", std::vector<uint32_t>{4}},
      {"gemma4.attention.head_count_kv", Ints{2, 2, 2, 2, 2, 0}},
      {"gemma4.attention.head_count_kv", Ints{2, 2, 2, 2, 2, 3}},
      {"gemma4.attention.head_count_kv", Ints{2, 2, 2, 2, 2, 5}},
      {"gemma4.attention.head_count_kv", Ints{2}},
      {"gemma4.attention.key_length", uint32_t{0}},
      {"gemma4.attention.key_length", uint32_t{60}},
      {"gemma4.attention.key_length_swa", uint32_t{33}},
      {"gemma4.attention.key_length_swa", uint32_t{2048}},
      {"gemma4.attention.sliding_window", int32_t{-1}},
      {"gemma4.attention.sliding_window_pattern", std::vector<bool>{true}},
      {"gemma4.attention.sliding_window_pattern", uint32_t{6}},
      {"gemma4.attention.layer_norm_rms_epsilon", 0.0f},
      {"gemma4.attention.layer_norm_rms_epsilon", kNan},
      {"gemma4.rope.freq_base", -1.0f},
      {"gemma4.rope.freq_base", kInfinity},
      {"gemma4.rope.freq_base_swa", true},
      {"gemma4.final_logit_softcapping", kNan},
      {"gemma4.attention.shared_kv_layers", uint32_t{2}},
      {"gemma4.embedding_length_per_layer_input", uint32_t{256}},
      {"gemma4.expert_count", uint32_t{128}},
  };
  for (size_t i = 0; i < std::size(cases); ++i) {
    Metadata metadata = Valid();
    metadata.Set(cases[i].key, cases[i].value);
    EXPECT_THAT(ReadTextConfig(metadata),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(std::string("'") + cases[i].key + "'")))
        << "case " << i;
  }
}

// Given one number of KV heads for all layers, expect it in each.
TEST(ConfigTest, TakesOneNumberForAllLayers) {
  Metadata metadata = Valid();
  metadata.Set("gemma4.attention.head_count_kv", uint32_t{4});
  ASSERT_OK_AND_ASSIGN(const TextConfig config, ReadTextConfig(metadata));
  for (const LayerConfig& layer : config.layers) EXPECT_EQ(layer.kv_heads, 4);
}

}  // namespace
}  // namespace facet
