// Every operation of each device against the reference device, over shapes with ragged edges, all
// block formats and both instruction sets; and the law of serving: a row's result has the same bits
// whatever rows are computed with it and however many threads compute them. With --config=cuda on a
// machine with a card, the card's as well.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/dequantize.h"
#include "kernels/reference_device.h"
#include "kernels/testing/host_memory_device.h"

namespace facet {
namespace {

constexpr TensorType kAllTypes[] = {TensorType::kF32,  TensorType::kF16,    TensorType::kBF16,
                                    TensorType::kQ4_0, TensorType::kQ4_1,   TensorType::kQ5_0,
                                    TensorType::kQ5_1, TensorType::kQ8_0,   TensorType::kQ2_K,
                                    TensorType::kQ3_K, TensorType::kQ4_K,   TensorType::kQ5_K,
                                    TensorType::kQ6_K, TensorType::kIQ4_NL, TensorType::kIQ4_XS};

std::vector<float> RandomFloats(std::mt19937& random, int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Random valid rows: random codes, but scales that are small halves, so that no value is infinite.
std::string RandomBlocks(std::mt19937& random, TensorType type, int64_t rows, int64_t columns) {
  std::string blocks(rows * RowBytes(type, columns), '\0');
  for (char& byte : blocks) byte = static_cast<char>(random());
  const TensorTypeInfo& info = InfoOf(type);
  const auto put_half = [&](size_t at) {
    const auto half = static_cast<_Float16>(0.001f * static_cast<float>(1 + random() % 8));
    std::memcpy(&blocks[at], &half, sizeof(half));
  };
  for (size_t block = 0; block < blocks.size(); block += info.block_bytes) {
    switch (type) {
      case TensorType::kF32: {
        const float value = std::normal_distribution<float>()(random);
        std::memcpy(&blocks[block], &value, sizeof(value));
        break;
      }
      case TensorType::kF16:
        put_half(block);
        break;
      case TensorType::kBF16:
        blocks[block + 1] = static_cast<char>(0x3c | (random() & 0x80));
        break;
      case TensorType::kQ2_K:
        put_half(block + 80), put_half(block + 82);
        break;
      case TensorType::kQ3_K:
        put_half(block + 108);
        break;
      case TensorType::kQ6_K:
        put_half(block + 208);
        break;
      case TensorType::kQ4_1:
      case TensorType::kQ5_1:
      case TensorType::kQ4_K:
      case TensorType::kQ5_K:
        put_half(block), put_half(block + 2);
        break;
      default:
        put_half(block);
    }
  }
  return blocks;
}

// The devices there are: the instruction sets of this processor (AVX2 is always one, as Facet does
// not run without it), AVX2 through the copies that devices with memory of their own need, and a
// card in a build for it.
std::unique_ptr<Device> Make(const std::string& name, int threads = 2) {
  if (name == "hosted") return testing::OnHostMemory(Make("avx2", threads));
  if (name == "cuda") return testing::OnHostMemory(MakeCudaDevice(0).value());
  return MakeCpuDevice({threads, name}).value();
}

std::vector<const char*> Devices() {
  std::vector<const char*> names = {"avx2", "hosted"};
  if (MakeCpuDevice({1, "avx512"}).ok()) names.push_back("avx512");
  if (MakeCudaDevice(0).ok()) names.push_back("cuda");
  return names;
}

// Whether its results are to have the bits of AVX2.
bool IsOfTheClassOfAvx2(const std::string& name) {
  return Make(name)->numerics_class() == Make("avx2")->numerics_class();
}

std::vector<float> MatMul(Device& device, const std::vector<float>& x, const Weight& weight,
                          int rows) {
  std::vector<float> out(rows * weight.rows, NAN);
  device.MatMul(x.data(), weight, rows, out.data());
  return out;
}

// The sum of the magnitudes that each output adds up, which its rounding errors are relative to.
std::vector<float> Magnitudes(std::vector<float> x, const Weight& weight, int rows) {
  std::vector<float> decoded(weight.rows * weight.columns);
  Dequantize(weight.type, weight.data, static_cast<int64_t>(decoded.size()), decoded.data());
  for (float& value : decoded) value = std::abs(value);
  for (float& value : x) value = std::abs(value);
  const Weight magnitudes = {TensorType::kF32, weight.rows, weight.columns, decoded.data()};
  return MatMul(*MakeReferenceDevice(), x, magnitudes, rows);
}

// Within `bound` of the largest expected magnitude: a few roundings of float32.
void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected, float bound) {
  ASSERT_EQ(actual.size(), expected.size());
  float scale = 1e-6f;
  for (const float value : expected) scale = std::max(scale, std::abs(value));
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_LE(std::abs(actual[i] - expected[i]), bound * scale) << "first bad index " << i;
  }
}

class MatMulTest : public ::testing::TestWithParam<std::tuple<const char*, TensorType>> {};

// Given ragged shapes, expect the reference's product.
TEST_P(MatMulTest, MatchesTheReference) {
  const auto [path, type] = GetParam();
  const auto device = Make(path);
  const auto reference = MakeReferenceDevice();
  std::mt19937 random(7);
  const int block = std::max(16, InfoOf(type).block_elements);
  for (const int64_t columns : {int64_t{block}, int64_t{3} * block, int64_t{5} * 256}) {
    for (const int64_t weight_rows : {1, 7, 8, 33}) {
      const std::string blocks = RandomBlocks(random, type, weight_rows, columns);
      const Weight weight = {type, weight_rows, columns, blocks.data()};
      for (const int rows : {1, 2, 3, 5, 8, 9, 17}) {
        const std::vector<float> x = RandomFloats(random, rows * columns);
        const std::vector<float> actual = MatMul(*device, x, weight, rows);
        const std::vector<float> expected = MatMul(*reference, x, weight, rows);
        const std::vector<float> magnitudes = Magnitudes(x, weight, rows);
        for (size_t i = 0; i < actual.size(); ++i) {
          // K / 16 roundings of 2^-24 in each lane, of which most cancel.
          ASSERT_LE(std::abs(actual[i] - expected[i]), 1e-6f * magnitudes[i])
              << "first bad index " << i << " of " << rows << " x " << weight_rows << " x "
              << columns;
        }
      }
    }
  }
}

// Given 512 rows, expect row r to have the bits that it has alone, and with any thread count.
TEST_P(MatMulTest, RowOfABatchEqualsTheRowAlone) {
  const auto [path, type] = GetParam();
  std::mt19937 random(8);
  const int64_t columns = 5 * 256, weight_rows = 37;
  const std::string blocks = RandomBlocks(random, type, weight_rows, columns);
  const Weight weight = {type, weight_rows, columns, blocks.data()};
  const std::vector<float> x = RandomFloats(random, 512 * columns);
  const std::vector<float> batch = MatMul(*Make(path, 3), x, weight, 512);
  const auto alone = Make(path, 1);
  for (int r = 0; r < 512; ++r) {
    const std::vector<float> row(x.begin() + r * columns, x.begin() + (r + 1) * columns);
    const std::vector<float> expected = MatMul(*alone, row, weight, 1);
    ASSERT_EQ(std::memcmp(expected.data(), &batch[r * weight_rows], weight_rows * sizeof(float)), 0)
        << "row " << r;
  }
}

INSTANTIATE_TEST_SUITE_P(All, MatMulTest,
                         ::testing::Combine(::testing::ValuesIn(Devices()),
                                            ::testing::ValuesIn(kAllTypes)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::string(InfoOf(std::get<1>(info.param)).name);
                         });

// Given each instruction set, expect the bits of AVX2 for every format: they are one numerics
// class.
TEST(NumericsClassTest, InstructionSetsAgreeBitForBit) {
  for (const char* path : Devices()) {
    if (!IsOfTheClassOfAvx2(path)) continue;
    std::mt19937 random(9);
    for (const TensorType type : kAllTypes) {
      const std::string blocks = RandomBlocks(random, type, 9, 1024);
      const Weight weight = {type, 9, 1024, blocks.data()};
      const std::vector<float> x = RandomFloats(random, 11 * 1024);
      EXPECT_EQ(MatMul(*Make("avx2"), x, weight, 11), MatMul(*Make(path), x, weight, 11))
          << path << " " << InfoOf(type).name;
    }
    std::vector<float> gate = RandomFloats(random, 4096), up = RandomFloats(random, 4096);
    for (float& value : gate) value *= 4;
    std::vector<float> narrow(4096), other(4096);
    Make("avx2")->GeGlu(gate.data(), up.data(), 4096, narrow.data());
    Make(path)->GeGlu(gate.data(), up.data(), 4096, other.data());
    EXPECT_EQ(narrow, other) << path;
  }
}

// An adapter's basis of random values and rows to combine it by.
struct Combination {
  Combination(TensorType type, int64_t rank, int64_t columns, int rows, std::mt19937& random)
      : blocks(RandomBlocks(random, type, rank, columns)),
        basis{type, rank, columns, blocks.data()},
        x(RandomFloats(random, rows * rank)),
        out(RandomFloats(random, rows * columns)) {}
  std::string blocks;
  Weight basis;
  std::vector<float> x, out;
};

constexpr TensorType kBasisTypes[] = {TensorType::kF32, TensorType::kF16, TensorType::kBF16};

// Given bases of each type and ragged shapes, for some rows and for all, expect the reference's
// sums, and rows that are not named as they were.
TEST(AddCombinationsTest, MatchesTheReference) {
  std::mt19937 random(14);
  const auto reference = MakeReferenceDevice();
  for (const char* path : Devices()) {
    for (const TensorType type : kBasisTypes) {
      for (const int64_t rank : {1, 4, 16, 33}) {
        for (const int64_t columns : {16, 80, 256, 528}) {
          const Combination c(type, rank, columns, 5, random);
          const int32_t some[] = {4, 0, 3};
          std::vector<float> actual = c.out, expected = c.out;
          Make(path)->AddCombinations(c.x.data(), c.basis, 0.5f, some, 3, actual.data());
          reference->AddCombinations(c.x.data(), c.basis, 0.5f, some, 3, expected.data());
          ExpectNear(actual, expected, 4e-6f);
          for (const int64_t row : {1, 2}) {
            EXPECT_EQ(0, std::memcmp(&actual[row * columns], &c.out[row * columns],
                                     columns * sizeof(float)));
          }
          Make(path)->AddCombinations(c.x.data(), c.basis, 2.0f, nullptr, 5, actual.data());
          reference->AddCombinations(c.x.data(), c.basis, 2.0f, nullptr, 5, expected.data());
          ExpectNear(actual, expected, 4e-6f);
        }
      }
    }
  }
}

// Given 70 rows, expect each to have the bits that it has alone, with any thread count and
// instruction set.
TEST(AddCombinationsTest, RowOfABatchEqualsTheRowAlone) {
  std::mt19937 random(15);
  const int64_t rank = 16, columns = 528;
  for (const TensorType type : kBasisTypes) {
    const Combination c(type, rank, columns, 70, random);
    for (const char* path : Devices()) {
      const auto alone_device = Make(IsOfTheClassOfAvx2(path) ? "avx2" : path, 1);
      std::vector<float> alone = c.out;
      for (int r = 0; r < 70; ++r) {
        alone_device->AddCombinations(&c.x[r * rank], c.basis, 0.25f, nullptr, 1,
                                      &alone[r * columns]);
      }
      std::vector<float> batch = c.out;
      Make(path, 3)->AddCombinations(c.x.data(), c.basis, 0.25f, nullptr, 70, batch.data());
      EXPECT_EQ(batch, alone) << path << " " << InfoOf(type).name;
    }
  }
}

constexpr KvFormat kKvFormatList[] = {KvFormat::kF32, KvFormat::kBf16, KvFormat::kFp8,
                                      KvFormat::kQ8};

// A layer's cache and a batch of rows from several sequences, with pages in random order.
class AttentionTest : public ::testing::TestWithParam<std::tuple<const char*, KvFormat, KvForm>> {
 protected:
  static constexpr int kQueryHeads = 16, kKvHeads = 2, kHeadDim = 64, kPairs = 8, kPages = 24;
  static constexpr int kStride = 8;
  static constexpr int64_t kQuerySize = int64_t{kQueryHeads} * kHeadDim;

  AttentionTest() : random_(10) {
    for (int page = 0; page < kPages; ++page) page_tables_.push_back(page);
    std::shuffle(page_tables_.begin(), page_tables_.end(), random_);
    query_norm_ = RandomFloats(random_, kHeadDim);
    key_norm_ = RandomFloats(random_, kHeadDim);
    pages_ = RandomPages(Format());
  }

  static const char* Path() { return std::get<0>(GetParam()); }
  static KvFormat Format() { return std::get<1>(GetParam()); }
  static KvForm Form() { return std::get<2>(GetParam()); }

  void AddRow(int sequence, int position, int first_key) {
    sequence_.push_back(sequence);
    position_.push_back(position);
    first_key_.push_back(first_key);
  }
  int row_count() const { return static_cast<int>(position_.size()); }
  KvLayer Layer(KvFormat format, std::vector<uint8_t>& pages) const {
    KvLayer layer;
    layer.format = format;
    layer.form = Form();
    layer.kv_heads = kKvHeads;
    layer.head_dim = kHeadDim;
    layer.turned_pairs = kPairs;
    layer.key_norm = key_norm_.data();
    layer.pages = pages.data();
    return layer;
  }
  std::vector<uint8_t> RandomPages(KvFormat format) {
    std::vector<uint8_t> none;
    const KvLayer layer = Layer(format, none);
    std::vector<uint8_t> pages(kPages * layer.page_bytes());
    for (size_t at = 0; at < pages.size(); at += layer.row_bytes()) {
      const std::vector<float> row = RandomFloats(random_, layer.row_values());
      EncodeKv(format, row.data(), layer.row_values(), &pages[at]);
    }
    return pages;
  }
  KvRows Rows(int first, int count) const {
    return {count,
            &position_[first],
            &sequence_[first],
            &first_key_[first],
            &position_[first],
            page_tables_.data(),
            kStride};
  }
  std::vector<float> Attend(Device& device, const std::vector<float>& query, int first, int count) {
    std::vector<float> out(count * kQuerySize, NAN);
    device.Attend(query.data() + first * kQuerySize, kQueryHeads, Rows(first, count),
                  Layer(Format(), pages_), out.data());
    return out;
  }
  // The rows together, against the reference and AVX2; then each row alone, and any two halves.
  void ExpectReferenceAndLaw(const std::vector<float>& query) {
    const int rows = row_count();
    const auto device = Make(Path(), 2);
    const std::vector<float> out = Attend(*device, query, 0, rows);
    ExpectNear(out, Attend(*MakeReferenceDevice(), query, 0, rows), 2e-6f);
    if (IsOfTheClassOfAvx2(Path())) {
      EXPECT_EQ(out, Attend(*Make("avx2", 3), query, 0, rows)) << "not the bits of AVX2";
    }
    const auto alone = Make(Path(), 1);
    for (int r = 0; r < rows; ++r) {
      const std::vector<float> row = Attend(*alone, query, r, 1);
      const auto first = out.begin() + r * kQuerySize;
      ASSERT_EQ(row, std::vector<float>(first, first + kQuerySize)) << r;
    }
    for (int split = 1; split < rows; split += 7) {
      std::vector<float> halves = Attend(*device, query, 0, split);
      const std::vector<float> second = Attend(*device, query, split, rows - split);
      halves.insert(halves.end(), second.begin(), second.end());
      ASSERT_EQ(halves, out) << "split at " << split;
    }
  }

  std::mt19937 random_;
  std::vector<uint8_t> pages_;
  std::vector<float> query_norm_, key_norm_;
  std::vector<int32_t> page_tables_, position_, sequence_, first_key_;
};

// Given contexts that begin and end inside, at and past page borders, expect the reference's
// result, and each row to have the bits it has alone.
TEST_P(AttentionTest, MatchesTheReferenceAndEachRowAlone) {
  for (int sequence = 0; sequence < 3; ++sequence) {
    for (const int position : {0, 1, 62, 63, 64, 65, 200, 511}) {
      AddRow(sequence, position, 0);
      AddRow(sequence, position, std::max(0, position - 31));
      AddRow(sequence, position, std::max(0, position - 63));
    }
  }
  ExpectReferenceAndLaw(RandomFloats(random_, row_count() * kQuerySize));
}

// Given chunks of prompts, of which each row sees one key more or its own window, between decodes
// of other sequences, expect the same.
TEST_P(AttentionTest, ChunksAndDecodesMatchTheReferenceAndEachRowAlone) {
  AddRow(0, 300, 0);
  for (int position = 100; position < 170; ++position) AddRow(1, position, 0);
  AddRow(2, 77, 14);
  for (int position = 40; position < 75; ++position)
    AddRow(2, position, std::max(0, position - 31));
  ExpectReferenceAndLaw(RandomFloats(random_, row_count() * kQuerySize));
}

// Given NaN in the places of a page that a row does not see, expect its result unchanged: what an
// earlier owner left there never shows.
TEST_P(AttentionTest, UnseenKeysNeverShow) {
  for (int position = 70; position < 100; ++position) AddRow(0, position, position - 20);
  const std::vector<float> query = RandomFloats(random_, row_count() * kQuerySize);
  const auto device = Make(Path(), 2);
  const std::vector<float> before = Attend(*device, query, 0, row_count());
  const KvLayer layer = Layer(Format(), pages_);
  const std::vector<float> nan(layer.row_values(), NAN);
  for (int position = 0; position < 192; ++position) {
    if (position >= 50 && position < 100) continue;
    for (int head = 0; head < kKvHeads; ++head) {
      EncodeKv(Format(), nan.data(), layer.row_values(),
               layer.pages + page_tables_[position / kPageTokens] * layer.page_bytes() +
                   (head * kPageTokens + position % kPageTokens) * layer.row_bytes());
    }
  }
  EXPECT_EQ(before, Attend(*device, query, 0, row_count()));
}

// Given queries, keys and values of several rows, expect them normed, turned and stored as the
// reference does it, with and without a value projection; in other formats, the codes of these.
TEST_P(AttentionTest, NormsTurnsAndStores) {
  const auto device = Make(Path());
  for (int r = 0; r < 70; ++r) AddRow(r / 40, 60 + r % 40, 0);
  const int rows = row_count();
  std::vector<float> cosines, sines;
  for (int i = 0; i < rows * kPairs; ++i) {
    cosines.push_back(std::cos(0.37f * static_cast<float>(i)));
    sines.push_back(std::sin(0.37f * static_cast<float>(i)));
  }
  const RopeTable rope = {cosines.data(), sines.data(), kPairs};
  const std::vector<float> query = RandomFloats(random_, rows * kQuerySize);
  const std::vector<float> key = RandomFloats(random_, int64_t{rows} * kKvHeads * kHeadDim);
  const std::vector<float> value = RandomFloats(random_, int64_t{rows} * kKvHeads * kHeadDim);
  for (const bool with_value : {true, false}) {
    if (with_value && Form() == KvForm::kNarrow) continue;
    std::vector<float> turned;
    const auto run = [&](Device& runner, KvFormat format) {
      std::vector<float> k = key;
      turned = query;
      std::vector<uint8_t> pages(kPages * Layer(format, pages_).page_bytes());
      runner.NormRopeStore({turned.data(), k.data(), with_value ? value.data() : nullptr,
                            query_norm_.data(), key_norm_.data(), kQueryHeads, 1e-6f},
                           rope, Rows(0, rows), Layer(format, pages));
      return pages;
    };
    const auto floats = [](const std::vector<uint8_t>& bytes) {
      std::vector<float> values(bytes.size() / sizeof(float));
      std::memcpy(values.data(), bytes.data(), bytes.size());
      return values;
    };
    const std::vector<float> expected = floats(run(*MakeReferenceDevice(), KvFormat::kF32));
    const std::vector<float> expected_query = turned;
    const std::vector<float> stored = floats(run(*device, KvFormat::kF32));
    ExpectNear(stored, expected, 1e-6f);
    ExpectNear(turned, expected_query, 1e-6f);
    const std::vector<uint8_t> coded = run(*device, Format());
    const KvLayer layer = Layer(Format(), pages_);
    std::vector<uint8_t> row(layer.row_bytes());
    for (size_t i = 0; i * layer.row_values() < stored.size(); ++i) {
      EncodeKv(Format(), &stored[i * layer.row_values()], layer.row_values(), row.data());
      ASSERT_EQ(std::memcmp(row.data(), &coded[i * layer.row_bytes()], row.size()), 0) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, AttentionTest,
                         ::testing::Combine(::testing::ValuesIn(Devices()),
                                            ::testing::ValuesIn(kKvFormatList),
                                            ::testing::Values(KvForm::kPlain, KvForm::kNarrow)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::string(NameOf(std::get<1>(info.param))) + "_" +
                                  std::string(NameOf(std::get<2>(info.param)));
                         });

class ElementwiseTest : public ::testing::TestWithParam<const char*> {};

// Given values over the whole range that layers meet, expect the reference's results.
TEST_P(ElementwiseTest, MatchesTheReference) {
  const auto device = Make(GetParam());
  const auto reference = MakeReferenceDevice();
  std::mt19937 random(11);
  const int rows = 37, columns = 272;
  std::vector<float> x = RandomFloats(random, int64_t{rows} * columns);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= static_cast<float>(1 << (i % 10));
  const std::vector<float> y = RandomFloats(random, int64_t{rows} * columns);
  const std::vector<float> weight = RandomFloats(random, columns);
  const auto compare = [&](auto&& run, float bound) {
    std::vector<float> a = x, b = x;
    run(*device, a.data());
    run(*reference, b.data());
    ExpectNear(a, b, bound);
  };
  compare([&](Device& d, float* v) { d.RmsNorm(v, weight.data(), rows, columns, 1e-6f, v); },
          1e-6f);
  compare([&](Device& d, float* v) { d.RmsNorm(v, nullptr, rows, columns, 1e-6f, v); }, 1e-6f);
  compare(
      [&](Device& d, float* v) {
        std::vector<float> update = y;
        d.AddNormed(v, update.data(), weight.data(), rows, columns, 1e-6f, 0.25f);
      },
      1e-6f);
  compare([&](Device& d, float* v) { d.GeGlu(v, y.data(), int64_t{rows} * columns, v); }, 1e-6f);
  compare([&](Device& d,
              float* v) { d.LayerNorm(v, weight.data(), y.data(), rows, columns, 1e-5f, v); },
          2e-6f);
  compare([&](Device& d, float* v) { d.AddRows(v, y.data(), columns, rows, columns); }, 0);
  compare([&](Device& d, float* v) { d.AddRows(v, y.data(), 0, rows, columns); }, 0);
  // A count that is no multiple of the vector width.
  compare([&](Device& d, float* v) { d.SoftCap(v, rows * columns - 5, 30.0f); }, 1e-6f);
}

// Given rows in another order, expect them gathered and put back where they were.
TEST_P(ElementwiseTest, GathersAndScatters) {
  const auto device = Make(GetParam());
  std::mt19937 random(13);
  const int columns = 48, stride = 100;
  const std::vector<float> x = RandomFloats(random, 6 * columns);
  const std::vector<int32_t> order = {4, 1, 5, 0};
  const auto reference = MakeReferenceDevice();
  for (Device* checked : {device.get(), reference.get()}) {
    std::vector<float> gathered(4 * stride), packed(4 * columns), back(x.size());
    checked->GatherRows(x.data(), order.data(), 4, columns, gathered.data(), stride);
    for (int r = 0; r < 4; ++r) {
      for (int i = 0; i < columns; ++i) {
        ASSERT_EQ(gathered[r * stride + i], x[order[r] * columns + i]) << r << " " << i;
      }
    }
    checked->GatherRows(x.data(), order.data(), 4, columns, packed.data(), columns);
    checked->ScatterRows(packed.data(), order.data(), 4, columns, back.data());
    for (const int32_t row : order) {
      for (int i = 0; i < columns; ++i) {
        ASSERT_EQ(back[row * columns + i], x[row * columns + i]);
      }
    }
    // The first row, without a table.
    checked->GatherRows(x.data(), nullptr, 1, columns, packed.data(), columns);
    EXPECT_EQ(packed[5], x[5]);
  }
}

// Given equal greatest values and columns to skip, expect the first that may be taken.
TEST_P(ElementwiseTest, FindsTheGreatest) {
  const auto device = Make(GetParam());
  const int columns = 1000;
  std::vector<float> x(2 * columns, -1.0f);
  x[0] = 9, x[300] = 5, x[301] = 5;
  x[columns + 7] = 2, x[columns + 999] = 3;
  const std::vector<int32_t> skipped = {0, 999};
  const auto reference = MakeReferenceDevice();
  for (Device* checked : {device.get(), reference.get()}) {
    std::vector<int32_t> best(2);
    checked->ArgMax(x.data(), 2, columns, nullptr, 0, best.data());
    EXPECT_THAT(best, ::testing::ElementsAre(0, 999));
    checked->ArgMax(x.data(), 2, columns, skipped.data(), 2, best.data());
    EXPECT_THAT(best, ::testing::ElementsAre(300, 7));
  }
}

// Given ids of every format's table, expect the decoded and scaled rows.
TEST_P(ElementwiseTest, EmbedsTokens) {
  const auto device = Make(GetParam());
  std::mt19937 random(12);
  for (const TensorType type : kAllTypes) {
    const std::string blocks = RandomBlocks(random, type, 9, 256);
    const Weight table = {type, 9, 256, blocks.data()};
    const std::vector<int32_t> ids = {8, 0, 3, 3};
    std::vector<float> a(size_t{4} * 256), b(size_t{4} * 256);
    device->EmbedTokens(table, ids.data(), 4, 16.0f, a.data());
    MakeReferenceDevice()->EmbedTokens(table, ids.data(), 4, 16.0f, b.data());
    EXPECT_EQ(a, b) << InfoOf(type).name;
  }
}

INSTANTIATE_TEST_SUITE_P(Paths, ElementwiseTest, ::testing::ValuesIn(Devices()),
                         [](const auto& info) { return info.param; });

// Given options that do not fit, expect an error that names the flag.
TEST(CpuDeviceTest, RefusesBadOptions) {
  using ::facet::testing::StatusIs;
  using ::testing::HasSubstr;
  EXPECT_THAT(MakeCpuDevice({-1, "auto"}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--threads")));
  EXPECT_THAT(MakeCpuDevice({1, "sse"}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--cpu_path=sse")));
}

}  // namespace
}  // namespace facet
