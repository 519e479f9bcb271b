#include "model/model_file.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/config.h"
#include "model/safetensors.h"
#include "model/testing/files.h"
#include "model/testing/safetensors_writer.h"

namespace facet {
namespace {

namespace json = boost::json;

using ::facet::testing::EmptyFolder;
using ::facet::testing::ReadFile;
using ::facet::testing::StatusIs;
using ::facet::testing::WriteFile;
using ::facet::testing::WriteSafetensors;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr char kGolden[] = "tests/testdata/golden/";

std::string Golden(absl::string_view name) { return ReadFile(absl::StrCat(kGolden, name)); }

// Every field, so that two configs are equal when their tuples are.
auto Fields(const TextConfig& config) {
  std::vector<std::tuple<bool, int, int>> layers;
  for (const LayerConfig& layer : config.layers) {
    layers.emplace_back(layer.sliding, layer.kv_heads, layer.head_dim);
  }
  return std::tuple(config.vocab_size, config.hidden_size, config.feed_forward_size,
                    config.query_heads, config.context_tokens_max, config.sliding_window_tokens,
                    config.rms_epsilon, config.logit_softcap, config.rope_theta_sliding,
                    config.rope_theta_full, layers);
}

// The values of a tensor of F32 or BF16.
std::vector<float> Values(const Tensor& tensor) {
  const size_t bytes = tensor.type == TensorType::kBF16 ? 2 : 4;
  CHECK(bytes == 2 || tensor.type == TensorType::kF32) << tensor.name;
  std::vector<float> values(tensor.data.size() / bytes);
  for (size_t i = 0; i < values.size(); ++i) {
    // The upper half of a float, or all of it.
    char word[4] = {};
    std::memcpy(word + 4 - bytes, tensor.data.data() + i * bytes, bytes);
    std::memcpy(&values[i], word, sizeof(word));
  }
  return values;
}

// A folder with the golden config.json and model.safetensors, either changed by the test.
std::string FolderWith(const std::string& config, absl::string_view safetensors) {
  const std::string folder = EmptyFolder("model");
  WriteFile(folder + "/config.json", config);
  if (!safetensors.empty()) WriteFile(folder + "/model.safetensors", safetensors);
  return folder;
}

// The golden config.json with its text part changed.
std::string ChangedConfig(const std::function<void(json::object&)>& change) {
  json::value config = json::parse(Golden("model/config.json"));
  change(config.at("text_config").as_object());
  return json::serialize(config);
}

class ModelFileTest : public ::testing::Test {
 protected:
  const std::string config_ = Golden("model/config.json");
  const std::string safetensors_ = Golden("model/model.safetensors");
  const std::vector<SafetensorsTensor> tensors_ = ParseSafetensors(safetensors_).value();
};

// Given the same model as a GGUF file and as a folder, expect the same config and tensors.
TEST_F(ModelFileTest, FolderAndGgufHoldTheSame) {
  ASSERT_OK_AND_ASSIGN(const auto gguf, ModelFile::Open(absl::StrCat(kGolden, "model.gguf")));
  ASSERT_OK_AND_ASSIGN(const auto mmproj, ModelFile::Open(absl::StrCat(kGolden, "mmproj.gguf")));
  ASSERT_OK_AND_ASSIGN(const auto folder, ModelFile::Open(absl::StrCat(kGolden, "model")));
  ASSERT_OK_AND_ASSIGN(const TextConfig a, ReadTextConfig(gguf->metadata()));
  ASSERT_OK_AND_ASSIGN(const TextConfig b, ReadTextConfig(folder->metadata()));
  EXPECT_EQ(Fields(a), Fields(b));
  for (const absl::string_view key :
       {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"}) {
    ASSERT_NE(gguf->metadata().Find(key), nullptr) << key;
    ASSERT_NE(folder->metadata().Find(key), nullptr) << key;
    EXPECT_TRUE(*gguf->metadata().Find(key) == *folder->metadata().Find(key)) << key;
  }
  int compared = 0;
  for (const Tensor& tensor : folder->tensors()) {
    const Tensor* other = gguf->Find(tensor.name);
    if (other == nullptr) other = mmproj->Find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_EQ(tensor.shape, other->shape) << tensor.name;
    EXPECT_TRUE(Values(tensor) == Values(*other)) << tensor.name;
    ++compared;
  }
  // 12 layers of 13 or 14 tensors, the embedding, the last norm, the rope divisors and 11 tensors
  // of the embedders.
  EXPECT_EQ(compared, 10 * 14 + 2 * 13 + 3 + 11);
}

// Given config.json as newer transformers save it, expect the same config.
TEST_F(ModelFileTest, ResavedConfigGivesTheSame) {
  const std::string folder = FolderWith(Golden("model/config_resaved.json"), safetensors_);
  ASSERT_OK_AND_ASSIGN(const auto resaved, ModelFile::Open(folder));
  ASSERT_OK_AND_ASSIGN(const auto plain, ModelFile::Open(absl::StrCat(kGolden, "model")));
  EXPECT_EQ(Fields(ReadTextConfig(resaved->metadata()).value()),
            Fields(ReadTextConfig(plain->metadata()).value()));
  EXPECT_TRUE(Values(*resaved->Find("rope_freqs.weight")) ==
              Values(*plain->Find("rope_freqs.weight")));
}

// Given the text part of config.json alone, expect it to be read too.
TEST_F(ModelFileTest, TakesTextPartAlone) {
  const std::string text = json::serialize(json::parse(config_).at("text_config"));
  EXPECT_OK(ModelFile::Open(FolderWith(text, safetensors_)));
}

// Given the tensors in two files and an index, expect all of them, as from one file.
TEST_F(ModelFileTest, ReadsShards) {
  const std::string folder = FolderWith(config_, "");
  const std::vector<SafetensorsTensor> first(tensors_.begin(), tensors_.begin() + 70);
  const std::vector<SafetensorsTensor> second(tensors_.begin() + 70, tensors_.end());
  json::object map;
  for (const auto& tensor : first) map[tensor.name] = "a.safetensors";
  for (const auto& tensor : second) map[tensor.name] = "b.safetensors";
  WriteFile(folder + "/a.safetensors", WriteSafetensors(first));
  WriteFile(folder + "/b.safetensors", WriteSafetensors(second));
  WriteFile(folder + "/model.safetensors.index.json",
            json::serialize(json::object{{"weight_map", map}}));
  ASSERT_OK_AND_ASSIGN(const auto shards, ModelFile::Open(folder));
  ASSERT_OK_AND_ASSIGN(const auto whole, ModelFile::Open(absl::StrCat(kGolden, "model")));
  ASSERT_EQ(shards->tensors().size(), whole->tensors().size());
  for (const Tensor& tensor : whole->tensors()) {
    ASSERT_NE(shards->Find(tensor.name), nullptr) << tensor.name;
    EXPECT_EQ(shards->Find(tensor.name)->data, tensor.data) << tensor.name;
  }

  // A shard that is gone is named, and so is a tensor that stands in both.
  std::filesystem::remove(folder + "/b.safetensors");
  EXPECT_THAT(ModelFile::Open(folder),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("b.safetensors")));
  WriteFile(folder + "/b.safetensors", WriteSafetensors({tensors_[2]}));
  EXPECT_THAT(ModelFile::Open(folder),
              StatusIs(kInvalid, AllOf(HasSubstr("token_embd.weight"), HasSubstr("twice"))));
}

// Given no file, expect NOT_FOUND and the path.
TEST_F(ModelFileTest, NamesTheMissingFile) {
  const auto missing = [](absl::string_view path) {
    return StatusIs(absl::StatusCode::kNotFound, HasSubstr(std::string(path)));
  };
  const std::string folder = EmptyFolder("model");
  EXPECT_THAT(ModelFile::Open(folder + "/no.gguf"), missing("no.gguf"));
  EXPECT_THAT(ModelFile::Open(folder), missing(folder));
  WriteFile(folder + "/config.json", config_);
  EXPECT_THAT(ModelFile::Open(folder), missing("model.safetensors"));
  std::filesystem::remove(folder + "/config.json");
  WriteFile(folder + "/model.safetensors", safetensors_);
  EXPECT_THAT(ModelFile::Open(folder), missing(folder));
  WriteFile(folder + "/empty.gguf", "");
  EXPECT_THAT(ModelFile::Open(folder + "/empty.gguf"), StatusIs(kInvalid, HasSubstr("empty.gguf")));
}

// Given a tensor that is not of the decoder, or of a layer that is not there, expect its name.
TEST_F(ModelFileTest, NamesTheUnknownTensor) {
  for (const char* name :
       {"x", "model.x", "model.language_model.layers.0.x.weight",
        "model.language_model.layers.12.input_layernorm.weight",
        "model.language_model.layers.-1.input_layernorm.weight",
        "model.language_model.layers.x.input_layernorm.weight", "model.language_model.layers.0"}) {
    std::vector<SafetensorsTensor> tensors = tensors_;
    tensors.push_back({name, "F32", {1}, "abcd"});
    EXPECT_THAT(ModelFile::Open(FolderWith(config_, WriteSafetensors(tensors))),
                StatusIs(kInvalid, HasSubstr(absl::StrCat("'", name, "'"))));
  }
}

// Given a weight of a type that holds no weights, or without elements, expect its name.
TEST_F(ModelFileTest, RefusesWhatIsNoWeight) {
  const std::string name = "model.language_model.norm.weight";
  for (const SafetensorsTensor& wrong :
       {SafetensorsTensor{name, "I32", {1}, "abcd"}, SafetensorsTensor{name, "F32", {}, "abcd"},
        SafetensorsTensor{name, "F32", {0}, ""}}) {
    EXPECT_THAT(ModelFile::Open(FolderWith(config_, WriteSafetensors({wrong}))),
                StatusIs(kInvalid, HasSubstr(name)));
  }
}

// Given a GGUF file or a safetensors file cut short, expect the path and no crash.
TEST_F(ModelFileTest, RefusesTruncation) {
  const std::string gguf = Golden("model.gguf");
  const std::string folder = EmptyFolder("cut");
  for (const size_t size : {size_t{1}, size_t{100}, gguf.size() / 2, gguf.size() - 64}) {
    WriteFile(folder + "/cut.gguf", absl::string_view(gguf).substr(0, size));
    EXPECT_THAT(ModelFile::Open(folder + "/cut.gguf"), StatusIs(kInvalid, HasSubstr("cut.gguf")));
  }
  for (const size_t size : {size_t{1}, size_t{100}, safetensors_.size() - 1}) {
    const std::string cut = FolderWith(config_, absl::string_view(safetensors_).substr(0, size));
    EXPECT_THAT(ModelFile::Open(cut), StatusIs(kInvalid, HasSubstr("model.safetensors")));
  }
}

// Given config.json cut at each byte, expect an error that names it.
TEST_F(ModelFileTest, RefusesEveryTruncationOfConfig) {
  const std::string folder = EmptyFolder("model");
  WriteFile(folder + "/model.safetensors", WriteSafetensors({}));
  WriteFile(folder + "/config.json", config_);
  ASSERT_OK(ModelFile::Open(folder));
  const size_t end = config_.find_last_of('}');
  for (size_t size = 0; size <= end; ++size) {
    WriteFile(folder + "/config.json", absl::string_view(config_).substr(0, size));
    EXPECT_THAT(ModelFile::Open(folder), StatusIs(kInvalid, HasSubstr("config.json"))) << size;
  }
}

// Given each field missing or wrong, expect config.json and the field in the message.
TEST_F(ModelFileTest, NamesTheWrongFieldOfConfig) {
  const std::string folder = EmptyFolder("model");
  WriteFile(folder + "/model.safetensors", WriteSafetensors({}));
  for (const char* key :
       {"num_hidden_layers", "max_position_embeddings", "hidden_size", "intermediate_size",
        "num_attention_heads", "sliding_window", "vocab_size", "layer_types", "head_dim",
        "num_key_value_heads", "num_global_key_value_heads", "global_head_dim", "rope_parameters",
        "rms_norm_eps", "final_logit_softcapping"}) {
    const auto expect_error = [&](const std::string& config, const char* field) {
      WriteFile(folder + "/config.json", config);
      EXPECT_THAT(ModelFile::Open(folder),
                  StatusIs(kInvalid, AllOf(HasSubstr("config.json"),
                                           HasSubstr(absl::StrCat("'", field, "'")))))
          << key;
    };
    for (const json::value& wrong : {json::value("x"), json::value(json::array{1})}) {
      expect_error(ChangedConfig([&](json::object& text) { text[key] = wrong; }), key);
    }
    const std::string name = key;
    if (name == "rms_norm_eps" || name == "final_logit_softcapping") continue;
    for (const json::value& wrong : {json::value(-1), json::value(4294967296 + 64)}) {
      expect_error(ChangedConfig([&](json::object& text) { text[key] = wrong; }), key);
    }
    // Without global_head_dim the other form is looked for.
    expect_error(ChangedConfig([&](json::object& text) { text.erase(key); }),
                 name == "global_head_dim" ? "per_layer_config" : key);
  }
}

// Given what Facet does not run, expect a refusal that names the field.
TEST_F(ModelFileTest, RefusesModelsOfOtherKinds) {
  const std::pair<const char*, json::value> cases[] = {{"enable_moe_block", true},
                                                       {"hidden_size_per_layer_input", 256},
                                                       {"num_kv_shared_layers", 2}};
  for (const auto& [key, value] : cases) {
    const std::string config = ChangedConfig([&](json::object& text) { text[key] = value; });
    EXPECT_THAT(ModelFile::Open(FolderWith(config, safetensors_)),
                StatusIs(kInvalid, HasSubstr(absl::StrCat("'", key, "'"))));
  }
}

// Given a share of rotated frequencies out of [0, 1], expect its name.
TEST_F(ModelFileTest, NamesTheRotaryShareOutOfRange) {
  const std::string config = ChangedConfig([](json::object& text) {
    text["rope_parameters"].at("full_attention").as_object()["partial_rotary_factor"] = 1.5;
  });
  EXPECT_THAT(ModelFile::Open(FolderWith(config, safetensors_)),
              StatusIs(kInvalid, HasSubstr("'partial_rotary_factor'")));
}

// Given generation_config.json with a wrong field, expect file and field.
TEST_F(ModelFileTest, NamesTheWrongFieldOfGenerationConfig) {
  const std::string folder = FolderWith(config_, safetensors_);
  for (const char* key : {"temperature", "top_p", "top_k", "suppress_tokens"}) {
    for (const json::value& wrong : {json::value("x"), json::value(json::array{1e300})}) {
      WriteFile(folder + "/generation_config.json", json::serialize(json::object{{key, wrong}}));
      EXPECT_THAT(ModelFile::Open(folder),
                  StatusIs(kInvalid, AllOf(HasSubstr("generation_config.json"), HasSubstr(key))))
          << wrong;
    }
  }
}

// Given a folder and its GGUF twin, expect digests that tell the two apart but not two readings.
TEST_F(ModelFileTest, DigestDependsOnForm) {
  const auto digest = [](absl::string_view name) {
    return ModelDigest(*ModelFile::Open(absl::StrCat(kGolden, name)).value());
  };
  EXPECT_EQ(digest("model").size(), 32);
  EXPECT_EQ(digest("model"), digest("model"));
  EXPECT_NE(digest("quant/q8_0.gguf"), digest("quant/q4_0.gguf"));
}

// Given both forms, expect the metadata alone to equal those of the whole.
TEST_F(ModelFileTest, MetadataAloneEqualTheWhole) {
  for (const char* name : {"model", "model.gguf"}) {
    const std::string path = absl::StrCat(kGolden, name);
    ASSERT_OK_AND_ASSIGN(const Metadata alone, ReadModelMetadata(path));
    ASSERT_OK_AND_ASSIGN(const auto whole, ModelFile::Open(path));
    EXPECT_TRUE(alone.values() == whole->metadata().values()) << name;
  }
}

// Given mapped tensors whose memory is given back, expect the same bytes on the next touch; given
// bytes that are no file's, expect them to stay.
TEST(ReleaseTest, BytesComeInAgain) {
  ASSERT_OK_AND_ASSIGN(const auto file, ModelFile::Open(absl::StrCat(kGolden, "model.gguf")));
  for (const Tensor& tensor : file->tensors()) {
    const std::string before(tensor.data);
    file->Release(tensor.data);
    ASSERT_TRUE(before == tensor.data) << tensor.name;
  }
  const std::string own(1 << 20, 'x');
  file->Release(own);
  EXPECT_TRUE(own == std::string(1 << 20, 'x'));
}

}  // namespace
}  // namespace facet
