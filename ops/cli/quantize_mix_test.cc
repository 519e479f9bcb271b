#include "ops/cli/quantize_mix.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

Tensor MakeTensor(std::string name, std::vector<int64_t> shape) {
  return {std::move(name), TensorType::kBF16, std::move(shape), ""};
}

// The tensors of Gemma 4 12B: every sixth layer is full and has no attn_v.
std::vector<Tensor> Gemma12B() {
  std::vector<Tensor> tensors = {MakeTensor("token_embd.weight", {3840, 262144}),
                                 MakeTensor("output_norm.weight", {3840}),
                                 MakeTensor("rope_freqs.weight", {256})};
  for (int layer = 0; layer < 48; ++layer) {
    const bool full = layer % 6 == 5;
    const auto add = [&](const char* kind, std::vector<int64_t> shape) {
      tensors.push_back(MakeTensor(absl::StrCat("blk.", layer, ".", kind, ".weight"), shape));
    };
    add("attn_q", {3840, full ? 8192 : 4096});
    add("attn_k", {3840, full ? 512 : 2048});
    if (!full) add("attn_v", {3840, 2048});
    add("attn_output", {full ? 8192 : 4096, 3840});
    for (const char* kind : {"ffn_gate", "ffn_up"}) add(kind, {3840, 15360});
    add("ffn_down", {15360, 3840});
    // Norms of the stream, of queries and keys, and the scale: 338 vectors in all with the two
    // above.
    for (const char* kind : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}) {
      add(kind, {3840});
    }
    for (const char* kind : {"attn_q_norm", "attn_k_norm"}) add(kind, {full ? 512 : 256});
    add("layer_output_scale", {1});
  }
  return tensors;
}

int64_t BytesUnder(const char* name) {
  const std::vector<Tensor> tensors = Gemma12B();
  const std::vector<TensorType> types = TypesOf(QuantizeMixFromName(name).value(), tensors);
  int64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    int64_t rows = 1;
    for (size_t axis = 1; axis < tensors[i].shape.size(); ++axis) rows *= tensors[i].shape[axis];
    bytes += RowBytes(types[i], tensors[i].shape[0]) * rows;
  }
  return bytes;
}

// Given the shapes of the 12B model, expect the very sizes of the published files.
TEST(QuantizeMixTest, SizesAreThoseOfPublishedFiles) {
  ASSERT_EQ(Gemma12B().size(), 667u);
  EXPECT_EQ(BytesUnder("Q4_K_M"), 7'365'558'464);
  EXPECT_EQ(BytesUnder("q4_k"), 7'365'558'464);
  EXPECT_EQ(BytesUnder("Q4_0"), 6'960'054'464);
  EXPECT_EQ(BytesUnder("Q8_0"), 12'653'822'144);
  EXPECT_EQ(BytesUnder("BF16"), 23'816'241'344);
}

// Given Q4_K_M and Q4_K_S, expect more bits in the layers that llama.cpp picks.
TEST(QuantizeMixTest, MoreBitsWhereErrorsCostMost) {
  const std::vector<Tensor> tensors = Gemma12B();
  const auto layers_with = [&](const char* name, const char* kind, TensorType type) {
    const std::vector<TensorType> types = TypesOf(QuantizeMixFromName(name).value(), tensors);
    std::set<int> layers;
    for (int layer = 0; layer < 48; ++layer) {
      for (size_t i = 0; i < tensors.size(); ++i) {
        if (tensors[i].name == absl::StrCat("blk.", layer, ".", kind, ".weight") &&
            types[i] == type) {
          layers.insert(layer);
        }
      }
    }
    return layers;
  };
  EXPECT_EQ(
      layers_with("Q4_K_M", "attn_v", TensorType::kQ6_K),
      (std::set<int>{0, 1, 2, 3, 4, 8, 12, 15, 19, 22, 26, 30, 33, 37, 40, 42, 43, 44, 45, 46}));
  EXPECT_EQ(layers_with("Q4_K_M", "ffn_down", TensorType::kQ6_K),
            (std::set<int>{0,  1,  2,  3,  4,  5,  8,  11, 14, 17, 20, 23,
                           26, 29, 32, 35, 38, 41, 42, 43, 44, 45, 46, 47}));
  EXPECT_EQ(layers_with("Q4_K_S", "attn_v", TensorType::kQ5_K), (std::set<int>{0, 1, 2, 3}));
  EXPECT_EQ(layers_with("Q4_K_S", "ffn_down", TensorType::kQ5_K),
            (std::set<int>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(layers_with("Q5_K_S", "ffn_down", TensorType::kQ5_K).size(), 48u);
}

// Given embedders of pictures and sounds, a drafter, and rows that are no whole blocks, expect the
// types of published projector and drafter files, and what holds such rows.
TEST(QuantizeMixTest, OtherTensors) {
  const auto types = [](const char* mix, const std::vector<Tensor>& tensors) {
    std::vector<std::string> names;
    for (const TensorType type : TypesOf(QuantizeMixFromName(mix).value(), tensors)) {
      names.push_back(std::string(InfoOf(type).name));
    }
    return names;
  };
  const std::vector<Tensor> media = {MakeTensor("v.patch_embd.weight", {6912, 3840}),
                                     MakeTensor("v.patch_embd.bias", {3840}),
                                     MakeTensor("v.position_embd.weight", {3840, 1120, 2}),
                                     MakeTensor("mm.input_projection.weight", {3840, 3840}),
                                     MakeTensor("mm.a.input_projection.weight", {640, 3840})};
  EXPECT_THAT(types("Q4_K_M", media), ::testing::ElementsAre("F32", "F32", "F32", "BF16", "BF16"));
  EXPECT_THAT(types("F16", media), ::testing::ElementsAre("F32", "F32", "F32", "F16", "F16"));
  EXPECT_THAT(types("F32", media), ::testing::Each("F32"));
  const std::vector<Tensor> drafter = {MakeTensor("token_embd.weight", {1024, 262144}),
                                       MakeTensor("nextn.pre_projection.weight", {7680, 1024})};
  EXPECT_THAT(types("Q4_0", drafter), ::testing::Each("Q4_0"));
  const std::vector<Tensor> odd = {MakeTensor("blk.0.attn_q.weight", {96, 8}),
                                   MakeTensor("blk.0.attn_k.weight", {100, 8})};
  EXPECT_THAT(types("Q4_K_M", odd), ::testing::ElementsAre("Q8_0", "F32"));
}

// Given a name that is none, expect the names there are.
TEST(QuantizeMixTest, RefusesOtherNames) {
  EXPECT_THAT(QuantizeMixFromName("Q3_X"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--quantize=Q3_X"), HasSubstr("Q4_K_M"))));
}

}  // namespace
}  // namespace facet
