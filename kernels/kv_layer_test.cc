#include "kernels/kv_layer.h"

#include <algorithm>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

KvLayer Layer(KvForm form, KvFormat format, int kv_heads, int head_dim, int pairs) {
  KvLayer layer;
  layer.format = format;
  layer.form = form;
  layer.kv_heads = kv_heads;
  layer.head_dim = head_dim;
  layer.turned_pairs = pairs;
  return layer;
}

// Given the 12B's full layers at two bytes, expect 16,384 bytes a token over the eight of them in
// plain form and 10,240 in narrow form.
TEST(KvLayerTest, BytesOfTheTwelveB) {
  EXPECT_EQ(8 * Layer(KvForm::kPlain, KvFormat::kBf16, 1, 512, 64).page_bytes(), 16384 * 64);
  EXPECT_EQ(8 * Layer(KvForm::kNarrow, KvFormat::kBf16, 1, 512, 64).page_bytes(), 10240 * 64);
  // Q8: 640 codes and 20 steps of two bytes.
  EXPECT_EQ(Layer(KvForm::kNarrow, KvFormat::kQ8, 1, 512, 64).row_bytes(), 680);
}

class KvRowTest : public ::testing::TestWithParam<KvForm> {};

// Given a key and a value, expect each dimension at its index, every place of the row taken, keys'
// places before values', and the first and last D of it to score and sum as unpacked ones do.
TEST_P(KvRowTest, PacksByIndex) {
  constexpr int kHeadDim = 64, kPairs = 8;
  KvLayer layer = Layer(GetParam(), KvFormat::kF32, 1, kHeadDim, kPairs);
  std::vector<float> key_norm(kHeadDim), value(kHeadDim), key(kHeadDim), query(kHeadDim);
  for (int d = 0; d < kHeadDim; ++d) {
    key_norm[d] = static_cast<float>(1 + d % 3);
    value[d] = static_cast<float>(100 + d);
    query[d] = static_cast<float>(d % 5 - 2);
    // Whole numbers, so that sums in any order are equal. Turned ones are any other number.
    key[d] = layer.Turned(d) ? static_cast<float>(300 + d) : value[d] * key_norm[d];
  }
  layer.key_norm = key_norm.data();
  std::vector<float> row(layer.row_values(), -1), packed_query(kHeadDim), unpacked(kHeadDim);
  PackKeyValue(layer, key.data(), value.data(), row.data());
  EXPECT_EQ(std::count(row.begin(), row.end(), -1.0f), 0);
  for (int d = 0; d < kHeadDim; ++d) {
    EXPECT_EQ(row[layer.ValueIndex(d)], value[d]) << d;
    EXPECT_LT(layer.KeyIndex(d), kHeadDim) << d;
    EXPECT_GE(layer.ValueIndex(d), layer.row_values() - kHeadDim) << d;
    const bool from_value = GetParam() == KvForm::kNarrow && !layer.Turned(d);
    EXPECT_EQ(row[layer.KeyIndex(d)], from_value ? value[d] : key[d]) << d;
  }
  PackQuery(layer, query.data(), packed_query.data());
  float score = 0, expected_score = 0;
  for (int d = 0; d < kHeadDim; ++d) {
    score += packed_query[d] * row[d];
    expected_score += query[d] * key[d];
  }
  EXPECT_EQ(score, expected_score);
  UnpackValue(layer, row.data() + layer.row_values() - kHeadDim, unpacked.data());
  EXPECT_EQ(unpacked, value);
}

INSTANTIATE_TEST_SUITE_P(Forms, KvRowTest, ::testing::Values(KvForm::kPlain, KvForm::kNarrow),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

// Given a word that is no form, expect an error that names the flag.
TEST(KvFormTest, NamesAreThoseOfTheFlag) {
  EXPECT_EQ(*KvFormFromName("narrow"), KvForm::kNarrow);
  EXPECT_EQ(*KvFormFromName("plain"), KvForm::kPlain);
  EXPECT_THAT(KvFormFromName("slim").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--kv_form=slim")));
}

}  // namespace
}  // namespace facet
