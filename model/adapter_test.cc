#include "model/adapter.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/gguf_writer.h"
#include "model/metadata.h"
#include "model/model_file.h"
#include "model/safetensors_writer.h"
#include "model/testing/files.h"

namespace facet {
namespace {

using ::facet::testing::EmptyFolder;
using ::facet::testing::ReadFile;
using ::facet::testing::StatusIs;
using ::facet::testing::WriteFile;
using ::testing::HasSubstr;

constexpr char kGolden[] = "tests/testdata/golden/";
constexpr int64_t kBytesMax = 1 << 20;
constexpr char kConfig[] =
    R"({"peft_type":"LORA","r":2,"lora_alpha":6,"target_modules":["q_proj","k_proj"]})";

// Two layers, a sliding and a full one, of hidden size 32.
TextConfig SmallConfig() {
  TextConfig config = {};
  config.hidden_size = 32;
  config.feed_forward_size = 48;
  config.query_heads = 4;
  config.layers = {{.sliding = true, .kv_heads = 2, .head_dim = 16},
                   {.sliding = false, .kv_heads = 1, .head_dim = 32}};
  return config;
}

// Values that tell where they stand, as bytes.
std::string Floats(int64_t count, float first = 0) {
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) {
    const float value = first + static_cast<float>(i);
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return bytes;
}

// A tensor of a PEFT file with its bytes.
struct Matrix {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype = "F32";
};

constexpr char kPrefix[] = "base_model.model.model.language_model.layers.";
std::vector<Matrix> GoodMatrices() {
  return {{absl::StrCat(kPrefix, "0.self_attn.q_proj.lora_A.weight"), {2, 32}},
          {absl::StrCat(kPrefix, "0.self_attn.q_proj.lora_B.weight"), {64, 2}},
          {absl::StrCat(kPrefix, "1.self_attn.k_proj.lora_A.weight"), {2, 32}},
          {absl::StrCat(kPrefix, "1.self_attn.k_proj.lora_B.weight"), {32, 2}}};
}

std::string WritePeft(const std::vector<Matrix>& matrices, absl::string_view config = kConfig) {
  const std::string folder = EmptyFolder("adapter");
  WriteFile(absl::StrCat(folder, "/adapter_config.json"), config);
  std::vector<std::string> data;
  for (const Matrix& matrix : matrices) {
    int64_t count = 1;
    for (const int64_t axis : matrix.shape) count *= axis;
    data.push_back(Floats(count, static_cast<float>(100 * data.size())));
    if (matrix.dtype != "F32") data.back().resize(2 * count);
  }
  std::vector<SafetensorsTensor> tensors;
  for (size_t i = 0; i < matrices.size(); ++i) {
    tensors.push_back({matrices[i].name, matrices[i].dtype, matrices[i].shape, data[i]});
  }
  WriteFile(absl::StrCat(folder, "/adapter_model.safetensors"), SafetensorsFile(tensors));
  return folder;
}

absl::Status ErrorOf(const std::string& path, int64_t bytes_max = kBytesMax) {
  return AdapterFile::Open(path, SmallConfig(), bytes_max).status();
}

// Given an adapter of two matrices, expect what was written, in the order of layers; from all three
// forms of names.
TEST(AdapterTest, ReadsPeftFolders) {
  for (const char* form : {"language_model.", "", "default"}) {
    std::vector<Matrix> matrices = GoodMatrices();
    for (Matrix& matrix : matrices) {
      if (absl::string_view(form) == "default") {
        matrix.name = absl::StrReplaceAll(matrix.name, {{".weight", ".default.weight"}});
      } else {
        matrix.name = absl::StrReplaceAll(matrix.name, {{"language_model.", form}});
      }
    }
    std::swap(matrices[0], matrices[3]);
    ASSERT_OK_AND_ASSIGN(const auto file,
                         AdapterFile::Open(WritePeft(matrices), SmallConfig(), kBytesMax));
    ASSERT_EQ(file->parts().size(), 2U);
    const AdapterPart& query = file->parts()[0];
    const AdapterPart& key = file->parts()[1];
    EXPECT_EQ(query.layer, 0);
    EXPECT_EQ(query.matrix, AdapterMatrix::kQuery);
    EXPECT_EQ(query.rank, 2);
    EXPECT_EQ(query.inputs, 32);
    EXPECT_EQ(query.outputs, 64);
    EXPECT_EQ(query.scale, 3.0f);
    EXPECT_EQ(query.a, Floats(64, 300));
    EXPECT_EQ(query.b, Floats(128, 100));
    EXPECT_EQ(key.layer, 1);
    EXPECT_EQ(key.matrix, AdapterMatrix::kKey);
    EXPECT_EQ(key.outputs, 32);
    EXPECT_EQ(file->digest().size(), 32U);
  }
}

// Given one value, the scale, or a type that differs, expect another digest; equal contents in
// another order, the same.
TEST(AdapterTest, DigestIsOfTheContents) {
  const auto digest = [](const std::vector<Matrix>& matrices, const std::string& config) {
    return AdapterFile::Open(WritePeft(matrices, config), SmallConfig(), kBytesMax)
        .value()
        ->digest();
  };
  const std::string first = digest(GoodMatrices(), kConfig);
  EXPECT_EQ(digest(GoodMatrices(), kConfig), first);
  EXPECT_NE(digest(GoodMatrices(), absl::StrReplaceAll(kConfig, {{"6", "7"}})), first);
  std::vector<Matrix> matrices = GoodMatrices();
  matrices.resize(2);
  EXPECT_NE(digest(matrices, kConfig), first);
  std::swap(matrices[0], matrices[1]);
  EXPECT_NE(digest(matrices, kConfig), first) << "other values";
}

// Given the golden adapter in both forms, expect the same parts and hence one digest.
TEST(AdapterTest, BothFormsOfTheGoldenAdapterAreEqual) {
  ASSERT_OK_AND_ASSIGN(const auto model, ModelFile::Open(absl::StrCat(kGolden, "model.gguf")));
  ASSERT_OK_AND_ASSIGN(const TextConfig base, ReadTextConfig(model->metadata()));
  ASSERT_OK_AND_ASSIGN(const auto peft,
                       AdapterFile::Open(absl::StrCat(kGolden, "lora"), base, kBytesMax));
  ASSERT_OK_AND_ASSIGN(const auto gguf,
                       AdapterFile::Open(absl::StrCat(kGolden, "lora.gguf"), base, kBytesMax));
  // Seven matrices of each layer, but no value's on full ones.
  size_t expected = 0;
  for (const LayerConfig& layer : base.layers) expected += layer.sliding ? 7 : 6;
  EXPECT_EQ(peft->parts().size(), expected);
  ASSERT_EQ(gguf->parts().size(), peft->parts().size());
  for (size_t i = 0; i < expected; ++i) {
    EXPECT_EQ(peft->parts()[i].a, gguf->parts()[i].a);
    EXPECT_EQ(peft->parts()[i].b, gguf->parts()[i].b);
    EXPECT_EQ(peft->parts()[i].scale, 2.0f);
  }
  EXPECT_EQ(peft->digest(), gguf->digest());
}

// Given folders with one thing wrong each, expect an error that names it.
TEST(AdapterTest, BadFoldersAreRefused) {
  const struct {
    const char* what;
    std::function<void(std::vector<Matrix>&)> change;
  } kCases[] = {
      {"q_proj.lora_A.weight' has shape [2, 48]", [](auto& all) { all[0].shape = {2, 48}; }},
      {"q_proj.lora_B.weight' has shape [48, 2]", [](auto& all) { all[1].shape = {48, 2}; }},
      {"no rank", [](auto& all) { all[0].shape = {3, 32}; }},
      {"says 'r' 2",
       [](auto& all) {
         all[0].shape = {3, 32};
         all[1].shape = {64, 3};
       }},
      {"no rank",
       [](auto& all) {
         all[0].shape = {0, 32};
         all[1].shape = {64, 0};
       }},
      {"is no matrix", [](auto& all) { all[0].shape = {64}; }},
      {"has no A", [](auto& all) { all.erase(all.begin()); }},
      {"has no B", [](auto& all) { all.erase(all.begin() + 1); }},
      {"holds no tensor", [](auto& all) { all.clear(); }},
      {"layer 2, the model has 2",
       [](auto& all) {
         for (auto& matrix : all)
           matrix.name = absl::StrReplaceAll(matrix.name, {{"s.1.", "s.2."}});
       }},
      {"is not A or B", [](auto& all) { all[0].name = "base_model.model.lm_head.lora_A.weight"; }},
      {"is not A or B", [](auto& all) { all[0].name += ".extra"; }},
      {"is not A or B",
       [](auto& all) {
         all[0].name = absl::StrReplaceAll(all[0].name, {{"layers.0", "layers.x"}});
       }},
      {"same half",
       [](auto& all) {
         all.push_back(all[0]);
         all.back().name = absl::StrReplaceAll(all[0].name, {{".weight", ".default.weight"}});
       }},
      {"the model has not",
       [](auto& all) {
         for (auto& matrix : all) {
           matrix.name = absl::StrReplaceAll(matrix.name, {{"k_proj", "v_proj"}});
         }
       }},
      {"none of F32", [](auto& all) { all[0].dtype = "I16"; }},
  };
  for (const auto& test : kCases) {
    std::vector<Matrix> matrices = GoodMatrices();
    test.change(matrices);
    EXPECT_THAT(ErrorOf(WritePeft(matrices)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.what)));
  }
}

// Given a config that is wrong, missing files and files that are too large, expect their paths.
TEST(AdapterTest, BadFilesAreNamed) {
  EXPECT_THAT(ErrorOf(WritePeft(GoodMatrices(), R"({"peft_type":"LORA","r":0,"lora_alpha":1})")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'r'")));
  EXPECT_THAT(ErrorOf("nowhere"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere")));
  const std::string empty = EmptyFolder("empty");
  EXPECT_THAT(ErrorOf(empty),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("adapter_config.json")));
  WriteFile(empty + "/adapter_config.json", kConfig);
  EXPECT_THAT(ErrorOf(empty),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("adapter_model.safetensors")));
  EXPECT_THAT(ErrorOf(WritePeft(GoodMatrices()), 1000),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("room for 1000")));
  EXPECT_THAT(ErrorOf(absl::StrCat(kGolden, "model.gguf"), 100 << 20),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("general.type is 'model'")));
}

// Given each value in turn made infinite or not a number, in each type, expect a refusal.
TEST(AdapterTest, ValuesMustBeFinite) {
  const struct {
    const char* dtype;
    std::string bytes;
  } kCases[] = {{"F32", std::string("\0\0\x80\x7f", 4)}, {"F32", std::string("\1\0\x80\xff", 4)},
                {"F16", std::string("\0\x7c", 2)},       {"F16", std::string("\1\xfc", 2)},
                {"BF16", std::string("\x80\x7f", 2)},    {"BF16", std::string("\xc0\xff", 2)}};
  for (const auto& test : kCases) {
    std::vector<Matrix> matrices = GoodMatrices();
    matrices[3].dtype = test.dtype;
    const std::string folder = WritePeft(matrices);
    std::string file = ReadFile(folder + "/adapter_model.safetensors");
    file.replace(file.size() - test.bytes.size(), test.bytes.size(), test.bytes);
    WriteFile(folder + "/adapter_model.safetensors", file);
    EXPECT_THAT(ErrorOf(folder),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not finite")))
        << test.dtype;
  }
}

// Given the golden GGUF adapter with other kinds in its metadata, expect the key's name; with each
// of many truncations, an error.
TEST(AdapterTest, BadGgufIsRefused) {
  const std::string path = EmptyFolder("gguf") + "/adapter.gguf";
  const auto write = [&](const std::function<void(Metadata&)>& change, const std::string& tensor) {
    Metadata metadata;
    metadata.Set("general.type", std::string("adapter"));
    metadata.Set("general.architecture", std::string("gemma4"));
    metadata.Set("adapter.type", std::string("lora"));
    metadata.Set("adapter.lora.alpha", 6.0f);
    change(metadata);
    std::vector<GgufTensorSource> tensors;
    tensors.push_back({tensor + ".lora_a", TensorType::kF32, {32, 2}, [] { return Floats(64); }});
    tensors.push_back({tensor + ".lora_b", TensorType::kF32, {2, 64}, [] { return Floats(128); }});
    EXPECT_OK(WriteGgufFile(path, metadata, tensors, nullptr));
    return AdapterFile::Open(path, SmallConfig(), kBytesMax);
  };
  const std::string query = "blk.0.attn_q.weight";
  ASSERT_OK_AND_ASSIGN(const auto good, write([](Metadata&) {}, query));
  EXPECT_EQ(good->parts()[0].scale, 3.0f);
  EXPECT_EQ(good->parts()[0].rank, 2);
  const auto zero = [](Metadata& metadata) { metadata.Set("adapter.lora.alpha", 0.0f); };
  EXPECT_EQ(write(zero, query).value()->parts()[0].scale, 1.0f);
  for (const char* key : {"general.type", "general.architecture", "adapter.type"}) {
    EXPECT_THAT(write([&](Metadata& metadata) { metadata.Set(key, std::string("x")); }, query),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(key)));
  }
  EXPECT_THAT(write([](Metadata& metadata) { metadata.Set("adapter.lora.alpha", NAN); }, query),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("adapter.lora.alpha")));
  EXPECT_THAT(write([](Metadata&) {}, "blk.0.attn_norm.weight"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not A or B")));
  EXPECT_THAT(write([](Metadata&) {}, "blk.0.attn_k.weight"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("32 outputs")));
  write([](Metadata&) {}, query).IgnoreError();
  const std::string whole = ReadFile(path);
  for (size_t size = 0; size < whole.size(); size += 7) {
    WriteFile(path, absl::string_view(whole).substr(0, size));
    EXPECT_FALSE(AdapterFile::Open(path, SmallConfig(), kBytesMax).ok()) << size;
  }
}

// Given each of many truncations of a PEFT file, expect an error; with random bytes of its header
// changed (seed 3), a status or parts of the right sizes.
TEST(AdapterTest, SurvivesTruncatedAndChangedFiles) {
  const std::string folder = WritePeft(GoodMatrices());
  const std::string path = folder + "/adapter_model.safetensors";
  const std::string whole = ReadFile(path);
  for (size_t size = 0; size < whole.size(); size += 11) {
    WriteFile(path, absl::string_view(whole).substr(0, size));
    EXPECT_THAT(ErrorOf(folder),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("safetensors")))
        << size;
  }
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string changed = whole;
    for (int k = 0; k < 2; ++k) changed[random() % 700] = static_cast<char>(random());
    WriteFile(path, changed);
    const auto file = AdapterFile::Open(folder, SmallConfig(), kBytesMax);
    if (!file.ok()) continue;
    for (const AdapterPart& part : (*file)->parts()) {
      EXPECT_EQ(static_cast<int64_t>(part.a.size()),
                part.rank * part.inputs * InfoOf(part.a_type).block_bytes);
    }
  }
}

}  // namespace
}  // namespace facet
