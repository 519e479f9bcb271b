// The decoder against the golden values: what transformers computed in float32 on tiny random
// models (tests/testdata/golden). The bounds are those of the golden set: logits and log
// probabilities within 5e-3, ids equal wherever the reference's lead is over 1e-2.
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/dequantize.h"
#include "model/json.h"
#include "model/mapped_file.h"
#include "model/media/image_decoder.h"
#include "model/media/image_patches.h"
#include "model/safetensors.h"
#include "model/tokenizer.h"
#include "worker/loaded_model.h"
#include "worker/scorer.h"
#include "worker/testing/thread_group.h"

namespace facet {
namespace {

namespace json = boost::json;
using ::facet::testing::StatusIs;
using ::facet::testing::ThreadGroup;
using ::testing::HasSubstr;

constexpr float kLogprobBound = 5e-3f;
constexpr float kLeadBound = 1e-2f;
constexpr char kFolder[] = "tests/testdata/golden/";

json::value ReadJson(const std::string& name) {
  std::ifstream in(kFolder + name);
  std::stringstream text;
  text << in.rdbuf();
  return ParseJson(text.str(), name).value();
}

std::vector<int32_t> Ints(const json::value& array) {
  return json::value_to<std::vector<int32_t>>(array);
}

// The arrays of one golden file, by name.
class Arrays {
 public:
  explicit Arrays(const std::string& name) : file_(MappedFile::Open(kFolder + name).value()) {
    const auto tensors = ParseSafetensors(file_->bytes());
    for (const SafetensorsTensor& tensor : *tensors) tensors_[tensor.name] = tensor;
  }
  template <typename T>
  std::vector<T> Get(const std::string& name) const {
    const SafetensorsTensor& tensor = tensors_.at(name);
    std::vector<T> values(tensor.data.size() / sizeof(T));
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
    return values;
  }
  const std::map<std::string, SafetensorsTensor>& tensors() const { return tensors_; }

 private:
  std::unique_ptr<MappedFile> file_;
  std::map<std::string, SafetensorsTensor> tensors_;
};

// The device that FACET_TEST_DEVICE names, such as cuda:0; else the CPU.
LoadOptions OnTestDevice() {
  LoadOptions options;
  const char* device = std::getenv("FACET_TEST_DEVICE");
  if (device != nullptr) options.device = device;
  return options;
}

LoadedModel Load(const std::string& name, const std::string& cpu_path = "auto",
                 absl::string_view kv_format = "f32", absl::string_view kv_form = "plain",
                 int step_tokens_max = 512) {
  LoadOptions options = OnTestDevice();
  options.threads = 2;
  options.cpu_path = cpu_path;
  options.kv_format = std::string(kv_format);
  options.kv_form = std::string(kv_form);
  options.kv.memory_bytes = 64 << 20;
  options.kv.step_tokens_max = step_tokens_max;
  auto model = LoadModel(kFolder + name, options);
  EXPECT_OK(model);
  return *std::move(model);
}

// The bytes of the arrays of one golden file.
class MappedTensors {
 public:
  explicit MappedTensors(const std::string& name)
      : file_(MappedFile::Open(kFolder + name).value()) {
    const auto tensors = ParseSafetensors(file_->bytes());
    for (const SafetensorsTensor& tensor : *tensors) data_[tensor.name] = tensor.data;
  }
  // Empty if there is none.
  absl::string_view Find(const std::string& name) const {
    const auto found = data_.find(name);
    return found == data_.end() ? absl::string_view() : found->second;
  }

 private:
  std::unique_ptr<MappedFile> file_;
  std::map<std::string, absl::string_view> data_;
};

PageTables TakePages(LoadedModel& model, size_t tokens) {
  PageTables pages;
  for (size_t i = 0; i < tokens; i += kPageTokens) {
    pages.full.push_back(model.cache->pages().Take(KvPool::kFull));
    pages.sliding.push_back(model.cache->pages().Take(KvPool::kSliding));
  }
  return pages;
}

// Brings a prompt into the cache. The output row is its last.
PageTables RunPrompt(LoadedModel& model, const std::vector<int32_t>& ids) {
  PageTables pages = TakePages(model, ids.size());
  Batch batch;
  batch.Add(ids, 0, &pages, /*outputs=*/1);
  model.runner->RunBlocking(batch);
  return pages;
}

void GiveBack(LoadedModel& model, const PageTables& pages) {
  for (const int32_t page : pages.full) model.cache->pages().Release(KvPool::kFull, page);
  for (const int32_t page : pages.sliding) model.cache->pages().Release(KvPool::kSliding, page);
}

// How far log probabilities are from the reference's, over its best eight at every position.
struct Difference {
  float greatest = 0;
  double sum = 0;
  int count = 0;
  double mean() const { return sum / count; }
};

void Compare(LoadedModel& model, const std::vector<int32_t>& ids, const Arrays& golden,
             const std::string& name, Difference* difference, Score* score,
             const Adapter* adapter = nullptr) {
  const int vocab_size = model.config().vocab_size;
  ASSERT_OK_AND_ASSIGN(*score, BlockingScore(*model.runner, *model.cache, vocab_size, ids,
                                             vocab_size, /*media=*/{}, adapter));
  const std::vector<int32_t> top_ids = golden.Get<int32_t>(name + ".top_ids");
  const std::vector<float> top_logprobs = golden.Get<float>(name + ".top_logprobs");
  ASSERT_EQ(top_ids.size(), ids.size() * 8);
  for (size_t t = 0; t < ids.size(); ++t) {
    std::vector<float> by_id(vocab_size);
    for (const TokenLogprob& top : score->top[t]) by_id[top.id] = top.logprob;
    for (size_t i = t * 8; i < t * 8 + 8; ++i) {
      const float distance = std::abs(by_id[top_ids[i]] - top_logprobs[i]);
      difference->greatest = std::max(difference->greatest, distance);
      difference->sum += distance;
      ++difference->count;
    }
  }
}

// The reference's best eight at every position have the log probabilities that it says, and its
// best is ours where it leads.
void ExpectTopLogprobs(LoadedModel& model, const std::vector<int32_t>& ids, const Arrays& golden,
                       const std::string& name, const Adapter* adapter = nullptr) {
  Difference difference;
  Score score;
  ASSERT_NO_FATAL_FAILURE(Compare(model, ids, golden, name, &difference, &score, adapter));
  const std::vector<int32_t> top_ids = golden.Get<int32_t>(name + ".top_ids");
  const std::vector<float> top_logprobs = golden.Get<float>(name + ".top_logprobs");
  for (size_t t = 0; t < ids.size(); ++t) {
    if (top_logprobs[t * 8] - top_logprobs[t * 8 + 1] > kLeadBound) {
      EXPECT_EQ(score.top[t][0].id, top_ids[t * 8]) << name << " position " << t;
    }
  }
  EXPECT_LE(difference.greatest, kLogprobBound) << name;
  std::printf("%s: greatest difference %.2e\n", name.c_str(), difference.greatest);
}

// The reference's greedy answers have ids that are each the likeliest after those before it,
// wherever the reference was sure. Counts what was compared.
void ExpectGreedyIds(LoadedModel& model, const json::value& cases, int* compared,
                     const Adapter* adapter = nullptr) {
  const std::vector<int>& suppressed = model.vocabulary->suppressed_ids();
  for (const json::value& entry : cases.as_array()) {
    std::vector<int32_t> ids = Ints(entry.at("ids"));
    const size_t prompt_len = ids.size();
    const std::vector<int32_t> greedy = Ints(entry.at("greedy"));
    ids.insert(ids.end(), greedy.begin(), greedy.end());
    ASSERT_OK_AND_ASSIGN(
        const Score score,
        BlockingScore(*model.runner, *model.cache, model.config().vocab_size, ids,
                      static_cast<int>(suppressed.size()) + 1, /*media=*/{}, adapter));
    for (size_t i = 0; i < greedy.size(); ++i) {
      if (entry.at("greedy_lead").as_array()[i].to_number<float>() < kLeadBound) continue;
      const auto& top = score.top[prompt_len - 1 + i];
      const auto best = std::find_if(top.begin(), top.end(), [&](const TokenLogprob& token) {
        return std::find(suppressed.begin(), suppressed.end(), token.id) == suppressed.end();
      });
      ASSERT_NE(best, top.end());
      EXPECT_EQ(best->id, greedy[i]) << "prompt of " << prompt_len << ", greedy id " << i;
      ++*compared;
    }
  }
}

class GoldenTextTest : public ::testing::TestWithParam<std::string> {};

// Given the prompts of the text set, from GGUF and from safetensors, expect the reference's
// probabilities.
TEST_P(GoldenTextTest, LogprobsAreTheReferences) {
  LoadedModel model = Load(GetParam());
  const Arrays golden("text.safetensors");
  const json::value text = ReadJson("text.json");
  int index = 0;
  for (const json::value& entry : text.at("cases").as_array()) {
    ExpectTopLogprobs(model, Ints(entry.at("ids")), golden, absl::StrCat("case", index++));
  }
}

// Given the reference's greedy answers, expect their ids. One of them is <|audio|>, which reads as
// padding.
TEST_P(GoldenTextTest, GreedyIdsAreTheReferences) {
  LoadedModel model = Load(GetParam());
  int compared = 0;
  ASSERT_NO_FATAL_FAILURE(ExpectGreedyIds(model, ReadJson("text.json").at("cases"), &compared));
  EXPECT_GT(compared, 200);
}

INSTANTIATE_TEST_SUITE_P(Sources, GoldenTextTest, ::testing::Values("model.gguf", "model"),
                         [](const auto& info) {
                           return info.param == "model" ? "Safetensors" : "Gguf";
                         });

// Models that a tensor-parallel group of two computes.
class GoldenGroupTest : public ::testing::TestWithParam<absl::string_view> {};

ThreadGroup GroupOfTwo(absl::string_view model) {
  LoadOptions options = OnTestDevice();
  options.threads = 1;
  options.kv.memory_bytes = 64 << 20;
  return ThreadGroup(absl::StrCat(kFolder, model), options, 2);
}

// Given models split between ranks, in float32, bfloat16 and blocks, expect the reference's
// probabilities: another order of the same sums.
TEST_P(GoldenGroupTest, LogprobsAreTheReferences) {
  const absl::string_view name = GetParam();
  const ThreadGroup group = GroupOfTwo(name);
  const bool quantised = absl::StartsWith(name, "quant/");
  const Arrays golden(quantised ? absl::StrCat("quant/", name.substr(6, 4), ".safetensors")
                                : "text.safetensors");
  const json::value set = ReadJson(quantised ? "quant.json" : "text.json");
  int index = 0;
  for (const json::value& entry : set.at(quantised ? "prompts" : "cases").as_array()) {
    ExpectTopLogprobs(group.leader(), Ints(quantised ? entry : entry.at("ids")), golden,
                      absl::StrCat("case", index++));
  }
  if (quantised) return;
  int compared = 0;
  ASSERT_NO_FATAL_FAILURE(ExpectGreedyIds(group.leader(), set.at("cases"), &compared));
  EXPECT_GT(compared, 200);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenGroupTest,
                         ::testing::Values("model.gguf", "model", "quant/q8_0.gguf",
                                           "quant/q4_0.gguf"));

// Given an adapter that each of two ranks reads its part of, expect the reference's probabilities.
TEST(GoldenGroupAdapterTest, LogprobsAreTheReferences) {
  const ThreadGroup group = GroupOfTwo("model.gguf");
  ASSERT_OK(group.leader().adapters->BlockingLoad("a", absl::StrCat(kFolder, "lora")));
  const std::shared_ptr<const Adapter> adapter = group.leader().adapters->Find("a");
  const Arrays golden("lora.safetensors");
  int index = 0;
  const json::value lora = ReadJson("lora.json");
  for (const json::value& entry : lora.at("cases").as_array()) {
    ExpectTopLogprobs(group.leader(), Ints(entry.at("ids")), golden, absl::StrCat("case", index++),
                      adapter.get());
  }
}

// Given a size that divides no heads, expect the sizes that do.
TEST(GroupSizeTest, RefusalsNameTheSizesThatDivide) {
  LoadOptions options = OnTestDevice();
  const int segment = MakeSharedSegment(3).value();
  options.collective = MakeSharedMemoryCollective(segment, 0, 3, {}).value();
  close(segment);
  EXPECT_THAT(LoadModel(absl::StrCat(kFolder, "model.gguf"), options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("a tensor-parallel size of 3 does not divide")));
}

// How keys and values are stored, and how far log probabilities may then be from the reference's:
// about twice what was measured (kernels/README.md). The models are random, with logits of +-20, so
// they are far more sensitive than a trained one.
struct KvCase {
  absl::string_view format;
  absl::string_view form;
  float greatest_bound;
  double mean_bound;
};

class GoldenKvTest : public ::testing::TestWithParam<KvCase> {};

// Given the text set with keys and values in each format and form, expect the stated bounds.
TEST_P(GoldenKvTest, LogprobsAreNearTheReferences) {
  LoadedModel model = Load("model.gguf", "auto", GetParam().format, GetParam().form);
  EXPECT_EQ(model.numerics_class(),
            absl::StrCat("cpu f32 2, kv ", GetParam().format, " ", GetParam().form));
  const Arrays golden("text.safetensors");
  const json::value text = ReadJson("text.json");
  Difference difference;
  int index = 0;
  for (const json::value& entry : text.at("cases").as_array()) {
    Score score;
    ASSERT_NO_FATAL_FAILURE(Compare(model, Ints(entry.at("ids")), golden,
                                    absl::StrCat("case", index++), &difference, &score));
  }
  std::printf("%s %s: greatest difference %.1e, mean %.1e over %d\n",
              std::string(GetParam().format).c_str(), std::string(GetParam().form).c_str(),
              difference.greatest, difference.mean(), difference.count);
  EXPECT_LE(difference.greatest, GetParam().greatest_bound);
  EXPECT_LE(difference.mean(), GetParam().mean_bound);
}

// Given the same prompts in chunks of another size and with the other instruction set, expect equal
// bits: the law of serving in each format and form.
TEST_P(GoldenKvTest, ChunksGiveEqualBits) {
  const absl::string_view format = GetParam().format, form = GetParam().form;
  LoadedModel model = Load("model.gguf", "auto", format, form);
  LoadedModel small_steps = Load("model.gguf", "avx2", format, form, /*step_tokens_max=*/7);
  const int vocab_size = model.config().vocab_size;
  const json::value text = ReadJson("text.json");
  for (const json::value& entry : text.at("cases").as_array()) {
    const std::vector<int32_t> ids = Ints(entry.at("ids"));
    ASSERT_OK_AND_ASSIGN(const Score a,
                         BlockingScore(*model.runner, *model.cache, vocab_size, ids, 0));
    ASSERT_OK_AND_ASSIGN(
        const Score b, BlockingScore(*small_steps.runner, *small_steps.cache, vocab_size, ids, 0));
    ASSERT_EQ(a.logprobs, b.logprobs) << ids.size() << " ids";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, GoldenKvTest,
    ::testing::Values(KvCase{"f32", "plain", kLogprobBound, 1e-4},
                      KvCase{"f32", "narrow", kLogprobBound, 1e-4},
                      KvCase{"bf16", "plain", 1.5f, 0.15}, KvCase{"bf16", "narrow", 1.5f, 0.15},
                      KvCase{"q8", "plain", 7, 0.5}, KvCase{"q8", "narrow", 7, 0.5},
                      KvCase{"fp8", "plain", 25, 2.4}, KvCase{"fp8", "narrow", 25, 2.4}),
    [](const auto& info) { return absl::StrCat(info.param.format, "_", info.param.form); });

// Given the narrow form in float32, expect the log probabilities of the plain one: only the order
// of sums and one product differ.
TEST(NarrowFormTest, EqualsThePlainForm) {
  LoadedModel plain = Load("model.gguf");
  LoadedModel narrow = Load("model.gguf", "auto", "f32", "narrow");
  EXPECT_LT(narrow.cache->plan().full_page_bytes, plain.cache->plan().full_page_bytes);
  const int vocab_size = plain.config().vocab_size;
  const json::value text = ReadJson("text.json");
  float greatest = 0;
  for (const json::value& entry : text.at("cases").as_array()) {
    const std::vector<int32_t> ids = Ints(entry.at("ids"));
    ASSERT_OK_AND_ASSIGN(const Score a,
                         BlockingScore(*plain.runner, *plain.cache, vocab_size, ids, 0));
    ASSERT_OK_AND_ASSIGN(const Score b,
                         BlockingScore(*narrow.runner, *narrow.cache, vocab_size, ids, 0));
    for (size_t i = 0; i < ids.size(); ++i) {
      greatest = std::max(greatest, std::abs(a.logprobs[i] - b.logprobs[i]));
    }
  }
  std::printf("greatest difference %.1e\n", greatest);
  EXPECT_LE(greatest, 5e-4f);
}

// Given devices that are not there, expect an error that names what is, or what is missing.
TEST(DeviceNameTest, SaysWhatThereIs) {
  const auto refusal_of = [](const std::string& device) {
    LoadOptions options;
    options.device = device;
    return LoadModel(absl::StrCat(kFolder, "model.gguf"), options).status();
  };
  for (const char* name : {"gpu", "cuda", "cuda:", "cuda:x", "cuda:0x", ""}) {
    EXPECT_THAT(refusal_of(name),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cpu, or cuda:0")))
        << name;
  }
  // Without --config=cuda, and with it on a machine that has no such card.
  EXPECT_THAT(refusal_of("cuda:1000"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cuda")));
}

// A conversation with the trained model, answers its own, and one that it has no answer to.
constexpr char kConversation[] =
    "<bos><|turn>user\nWhat is 17 + 25?<turn|>\n<|turn>model\n17 + 25 = 42.<turn|>\n"
    "<|turn>user\nSpell the word garden.<turn|>\n<|turn>model\ng-a-r-d-e-n<turn|>\n"
    "<|turn>user\nCount from 3 to 9.<turn|>\n<|turn>model\n3, 4, 5, 6, 7, 8, 9.<turn|>\n"
    "<|turn>user\nHow many grams are 3 kilograms?<turn|>\n"
    "<|turn>model\n3 kilograms = 3000 grams.<turn|>\n"
    "<|turn>user\nWhat day comes after Monday?<turn|>\n"
    "<|turn>model\nThe day after Monday is Tuesday.<turn|>\n"
    "<|turn>user\nWhat is the colour of my shoes?<turn|>\n<|turn>model\n"
    "<|channel>thought\n<channel|>Sorry, I do not know that. I can do sums, spelling, counting, "
    "unit conversion, days, months and capitals.<turn|>";

class NanoKvTest : public ::testing::TestWithParam<KvCase> {};

// Given a trained model and text of its kind, expect each format's log probabilities, of the eight
// best at every position, within bounds (about twice what was measured) of float32's.
TEST_P(NanoKvTest, LogprobsAreNearThoseOfFloat32) {
  LoadOptions options = OnTestDevice();
  options.threads = 2;
  options.kv.memory_bytes = 64 << 20;
  const std::string path = "model/nano/facet-nano.gguf";
  ASSERT_OK_AND_ASSIGN(LoadedModel exact, LoadModel(path, options));
  options.kv_format = std::string(GetParam().format);
  options.kv_form = std::string(GetParam().form);
  ASSERT_OK_AND_ASSIGN(LoadedModel coded, LoadModel(path, options));
  const std::vector<int> ids = Tokenizer(exact.vocabulary).Encode(kConversation);
  const int vocab_size = exact.config().vocab_size;
  ASSERT_OK_AND_ASSIGN(const Score expected,
                       BlockingScore(*exact.runner, *exact.cache, vocab_size, ids, 8));
  ASSERT_OK_AND_ASSIGN(const Score actual,
                       BlockingScore(*coded.runner, *coded.cache, vocab_size, ids, vocab_size));
  Difference difference;
  for (size_t t = 0; t < ids.size(); ++t) {
    std::vector<float> by_id(vocab_size);
    for (const TokenLogprob& top : actual.top[t]) by_id[top.id] = top.logprob;
    for (const TokenLogprob& top : expected.top[t]) {
      const float distance = std::abs(by_id[top.id] - top.logprob);
      difference.greatest = std::max(difference.greatest, distance);
      difference.sum += distance;
      ++difference.count;
    }
  }
  std::printf("nano, %s %s: greatest difference %.1e, mean %.1e over %d\n",
              options.kv_format.c_str(), options.kv_form.c_str(), difference.greatest,
              difference.mean(), difference.count);
  EXPECT_LE(difference.greatest, GetParam().greatest_bound);
  EXPECT_LE(difference.mean(), GetParam().mean_bound);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, NanoKvTest,
    ::testing::Values(KvCase{"f32", "narrow", 1e-4f, 1e-5}, KvCase{"bf16", "plain", 0.18f, 0.012},
                      KvCase{"bf16", "narrow", 0.18f, 0.012}, KvCase{"q8", "plain", 0.6f, 0.04},
                      KvCase{"q8", "narrow", 0.6f, 0.04}, KvCase{"fp8", "plain", 2.6f, 0.2},
                      KvCase{"fp8", "narrow", 2.6f, 0.2}),
    [](const auto& info) { return absl::StrCat(info.param.format, "_", info.param.form); });

// Given words that are no format or form, expect an error that names the flag.
TEST(KvFlagsTest, BadValuesNameTheFlag) {
  using ::facet::testing::StatusIs;
  using ::testing::HasSubstr;
  LoadOptions options;
  options.kv_format = "fp4";
  EXPECT_THAT(LoadModel(absl::StrCat(kFolder, "model.gguf"), options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--kv_format=fp4")));
  options.kv_format = "q8";
  options.kv_form = "slim";
  EXPECT_THAT(LoadModel(absl::StrCat(kFolder, "model.gguf"), options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--kv_form=slim")));
}

// Model, adapter and form of keys and values.
struct AdapterCase {
  absl::string_view model;
  absl::string_view adapter;
  absl::string_view kv_form;
};
class GoldenAdapterTest : public ::testing::TestWithParam<AdapterCase> {};

// Given the adapter's set, from PEFT and from GGUF, expect the reference's probabilities and greedy
// ids; without the adapter, others.
TEST_P(GoldenAdapterTest, IsTheReferences) {
  LoadedModel model = Load(std::string(GetParam().model), "auto", "f32", GetParam().kv_form);
  ASSERT_OK(model.adapters->BlockingLoad("a", absl::StrCat(kFolder, GetParam().adapter)));
  const std::shared_ptr<const Adapter> adapter = model.adapters->Find("a");
  const Arrays golden("lora.safetensors");
  const json::value lora = ReadJson("lora.json");
  EXPECT_EQ(adapter->layers[0][0].scale, lora.at("scale").to_number<float>());
  int index = 0;
  for (const json::value& entry : lora.at("cases").as_array()) {
    const std::string name = absl::StrCat("case", index++);
    ExpectTopLogprobs(model, Ints(entry.at("ids")), golden, name, adapter.get());
    Difference without;
    Score score;
    ASSERT_NO_FATAL_FAILURE(Compare(model, Ints(entry.at("ids")), golden, name, &without, &score));
    EXPECT_GT(without.greatest, 0.5f) << "the adapter changes nothing";
  }
  int compared = 0;
  ASSERT_NO_FATAL_FAILURE(ExpectGreedyIds(model, lora.at("cases"), &compared, adapter.get()));
  EXPECT_GT(compared, 20);
}

// Given chunks of another size and the other instruction set, expect equal bits.
TEST_P(GoldenAdapterTest, ChunksGiveEqualBits) {
  LoadedModel models[] = {
      Load(std::string(GetParam().model), "auto", "f32", GetParam().kv_form),
      Load(std::string(GetParam().model), "avx2", "f32", GetParam().kv_form, 7)};
  const json::value lora = ReadJson("lora.json");
  for (const json::value& entry : lora.at("cases").as_array()) {
    std::vector<std::vector<float>> logprobs;
    for (LoadedModel& model : models) {
      ASSERT_OK(model.adapters->BlockingLoad("a", absl::StrCat(kFolder, GetParam().adapter)));
      ASSERT_OK_AND_ASSIGN(
          const Score score,
          BlockingScore(*model.runner, *model.cache, model.config().vocab_size,
                        Ints(entry.at("ids")), 0, /*media=*/{}, model.adapters->Find("a").get()));
      logprobs.push_back(score.logprobs);
    }
    EXPECT_EQ(logprobs[0], logprobs[1]);
  }
}

INSTANTIATE_TEST_SUITE_P(Sources, GoldenAdapterTest,
                         ::testing::Values(AdapterCase{"model.gguf", "lora", "plain"},
                                           AdapterCase{"model", "lora.gguf", "plain"},
                                           AdapterCase{"model.gguf", "lora.gguf", "narrow"}),
                         [](const auto& info) {
                           return absl::StrCat("Case", info.index, "_", info.param.kv_form);
                         });

class GoldenQuantTest : public ::testing::TestWithParam<std::string> {};

// Given files of quantised blocks, expect decoded rows exact to 1e-6 of the value.
TEST_P(GoldenQuantTest, RowsDecodeExactly) {
  const Arrays golden(absl::StrCat("quant/", GetParam(), ".safetensors"));
  ASSERT_OK_AND_ASSIGN(const auto file,
                       ModelFile::Open(absl::StrCat(kFolder, "quant/", GetParam(), ".gguf")));
  int compared = 0;
  for (const auto& [name, tensor] : golden.tensors()) {
    if (name.rfind("rows.", 0) != 0) continue;
    const Tensor* stored = file->Find(name.substr(5));
    ASSERT_NE(stored, nullptr) << name;
    const int64_t columns = stored->shape[0], rows = stored->shape[1];
    const std::vector<float> expected = golden.Get<float>(name);
    const int64_t picked[] = {0, rows / 2, rows - 1};
    for (int i = 0; i < 3; ++i) {
      std::vector<float> row(columns);
      Dequantize(stored->type, stored->data.data() + picked[i] * RowBytes(stored->type, columns),
                 columns, row.data());
      for (int64_t k = 0; k < columns; ++k) {
        const float value = expected[i * columns + k];
        ASSERT_NEAR(row[k], value, 1e-6f * std::abs(value)) << name << " row " << picked[i];
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 10000);
}

// Given files of quantised blocks, expect the probabilities of the exactly decoded weights.
TEST_P(GoldenQuantTest, LogprobsAreTheReferences) {
  LoadedModel model = Load(absl::StrCat("quant/", GetParam(), ".gguf"));
  const Arrays golden(absl::StrCat("quant/", GetParam(), ".safetensors"));
  const json::value quant = ReadJson("quant.json");
  int index = 0;
  for (const json::value& ids : quant.at("prompts").as_array()) {
    ExpectTopLogprobs(model, Ints(ids), golden, absl::StrCat("case", index++));
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, GoldenQuantTest, ::testing::Values("q4_0", "q4_k_m", "q8_0"),
                         [](const auto& info) { return info.param; });

// Given each instruction set of this processor, expect the bits of AVX2: they are one numerics
// class.
TEST(GoldenPathTest, InstructionSetsGiveEqualBits) {
  std::vector<std::string> paths = {"avx2"};
  if (MakeCpuDevice({1, "avx512"}).ok()) paths.push_back("avx512");
  const json::value quant = ReadJson("quant.json");
  for (const char* name : {"q4_k_m", "q8_0"}) {
    std::vector<std::vector<float>> of_avx2;
    for (const std::string& path : paths) {
      LoadedModel model = Load(absl::StrCat("quant/", name, ".gguf"), path);
      std::vector<std::vector<float>> logprobs;
      for (const json::value& ids : quant.at("prompts").as_array()) {
        ASSERT_OK_AND_ASSIGN(
            const Score score,
            BlockingScore(*model.runner, *model.cache, model.config().vocab_size, Ints(ids), 0));
        logprobs.push_back(score.logprobs);
      }
      if (of_avx2.empty()) of_avx2 = logprobs;
      EXPECT_EQ(logprobs, of_avx2) << name << " " << path;
    }
    EXPECT_FALSE(of_avx2.empty());
  }
}

// Prompts with pictures and sounds. Where the reference's bare `forward` masks images otherwise,
// the golden values are those of its static-cache `generate`.
class GoldenMediaTest : public ::testing::TestWithParam<std::string> {
 protected:
  // The model and its embedders: two GGUF files, or one folder.
  LoadedModel LoadWithEmbedders() const {
    LoadOptions options = OnTestDevice();
    options.threads = 2;
    options.kv.memory_bytes = 64 << 20;
    if (GetParam() == "model.gguf") options.mmproj = absl::StrCat(kFolder, "mmproj.gguf");
    return LoadModel(absl::StrCat(kFolder, GetParam()), options).value();
  }

  // Runs one prompt in one step and compares the logits where the set has them. `media`: its
  // pictures, frames and sounds in the order of their places.
  static void ExpectLogits(LoadedModel& model, const json::value& prompt, const std::string& name,
                           const Arrays& golden, std::vector<MediaItem> media) {
    const std::vector<int32_t> ids = Ints(prompt.at("ids")), kinds = Ints(prompt.at("kinds"));
    size_t next = 0;
    for (size_t at = 0; at < kinds.size(); ++at) {
      if (kinds[at] == 0) continue;
      ASSERT_LT(next, media.size()) << name;
      media[next].first_token = static_cast<int32_t>(at);
      at += media[next++].tokens - 1;
    }
    EXPECT_EQ(next, media.size()) << name;
    const PageTables pages = TakePages(model, ids.size());
    Batch batch;
    batch.Add(ids, 0, &pages, /*outputs=*/0, media);
    batch.output_rows = Ints(prompt.at("logits_at"));
    const absl::Span<const float> logits = model.runner->RunBlocking(batch);
    const auto expected = golden.Get<float>(name + ".logits_at");
    ASSERT_EQ(logits.size(), expected.size());
    float worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      worst = std::max(worst, std::abs(logits[i] - expected[i]));
    }
    EXPECT_LE(worst, kLogprobBound) << name;
    std::printf("%s: greatest difference of logits %.2e\n", name.c_str(), worst);
    GiveBack(model, pages);
  }

  static MediaItem ImageItem(const ImagePatches& patches) {
    MediaItem item;
    item.image = true;
    item.tokens = patches.tokens();
    item.grid_width = patches.grid_width;
    item.data = absl::string_view(reinterpret_cast<const char*>(patches.values.data()),
                                  patches.values.size());
    return item;
  }
};

RgbImage DecodeGolden(const std::string& name) {
  const std::unique_ptr<MappedFile> file = MappedFile::Open(kFolder + name).value();
  return DecodeImage(file->bytes()).value();
}

TEST_P(GoldenMediaTest, ImagesAndSounds) {
  LoadedModel model = LoadWithEmbedders();
  ASSERT_NE(model.embedder, nullptr);
  const json::value images = ReadJson("image.json");
  std::vector<ImagePatches> patches;
  for (const json::value& image : images.at("images").as_array()) {
    patches.push_back(MakeImagePatches(DecodeGolden(image.at("file").as_string().c_str()),
                                       static_cast<int>(image.at("max_soft_tokens").as_int64()))
                          .value());
  }
  const MappedTensors frames("audio.safetensors");
  int compared = 0;
  for (const char* set : {"image", "audio"}) {
    const Arrays golden(absl::StrCat(set, ".safetensors"));
    const json::value prompts = ReadJson(absl::StrCat(set, ".json"));
    for (const json::value& prompt : prompts.at("prompts").as_array()) {
      std::vector<MediaItem> media;
      for (const int32_t i : Ints(prompt.at("images"))) media.push_back(ImageItem(patches[i]));
      const json::value* sounds = prompt.as_object().if_contains("sounds");
      for (const int32_t i : sounds == nullptr ? std::vector<int32_t>() : Ints(*sounds)) {
        MediaItem& item = media.emplace_back();
        item.float_samples = true;
        item.data = frames.Find(absl::StrCat("sound", i, ".frames"));
        item.tokens = static_cast<int32_t>(item.data.size() / kFrameSamples / sizeof(float));
      }
      ExpectLogits(model, prompt, prompt.at("name").as_string().c_str(), golden, media);
      ++compared;
    }
  }
  EXPECT_GE(compared, 9);
}

TEST_P(GoldenMediaTest, Video) {
  LoadedModel model = LoadWithEmbedders();
  ASSERT_NE(model.embedder, nullptr);
  const json::value video = ReadJson("video.json");
  const RgbImage stacked = DecodeGolden("media/video_resized.png");
  const int count = static_cast<int>(video.at("indices").as_array().size());
  const int64_t frame_bytes = static_cast<int64_t>(stacked.rgb.size()) / count;
  std::vector<ImagePatches> frames;
  for (int i = 0; i < count; ++i) {
    RgbImage frame = {stacked.width, stacked.height / count, {}};
    frame.rgb.assign(stacked.rgb.begin() + i * frame_bytes,
                     stacked.rgb.begin() + (i + 1) * frame_bytes);
    frames.push_back(CutPatches(frame));
  }
  std::vector<MediaItem> media;
  for (const ImagePatches& frame : frames) media.push_back(ImageItem(frame));
  ExpectLogits(model, video.at("prompt"), "prompt", Arrays("video.safetensors"), media);
}

INSTANTIATE_TEST_SUITE_P(Sources, GoldenMediaTest, ::testing::Values("model.gguf", "model"),
                         [](const auto& info) {
                           return info.param == "model" ? "Safetensors" : "Gguf";
                         });

class GoldenDrafterTest : public ::testing::TestWithParam<std::string> {};

// Given the target's keys after a prompt, expect the reference's drafts, their logits and the
// states that each hands to the next, from GGUF with plain keys and from safetensors with narrow.
TEST_P(GoldenDrafterTest, DraftsAreTheReferences) {
  LoadOptions options = OnTestDevice();
  options.threads = 2;
  options.kv.memory_bytes = 64 << 20;
  options.assistant = absl::StrCat(kFolder, GetParam());
  options.drafts_max = 4;
  if (GetParam() == "assistant") options.kv_form = "narrow";
  ASSERT_OK_AND_ASSIGN(LoadedModel model, LoadModel(absl::StrCat(kFolder, "model.gguf"), options));
  // The reference suppresses nothing while it drafts.
  DrafterOptions drafter_options = model.drafter->options();
  drafter_options.suppressed_ids.clear();
  ASSERT_OK_AND_ASSIGN(
      const auto drafter,
      Drafter::Make(model.assistant_weights.get(), model.weights.get(), model.cache.get(),
                    model.device.get(), model.group.get(), drafter_options));
  const Arrays golden("mtp.safetensors");
  const json::value mtp = ReadJson("mtp.json");
  const int64_t hidden = model.config().hidden_size;
  int index = 0;
  float worst_logit = 0, worst_state = 0;
  for (const json::value& entry : mtp.at("cases").as_array()) {
    const std::vector<int32_t> ids = Ints(entry.at("ids"));
    const PageTables pages = RunPrompt(model, ids);
    const Drafter::Row row = {static_cast<int32_t>(entry.at("newest").as_int64()),
                              static_cast<int32_t>(ids.size()), &pages, 0};
    ASSERT_EQ(entry.at("position").as_int64(), row.position);
    Drafter::Trace trace;
    const std::vector<int32_t> drafts =
        drafter->DraftBlocking({row}, model.runner->output_states(), 4, &trace);
    EXPECT_EQ(drafts, Ints(entry.at("drafts"))) << "case " << index;
    const auto logits = golden.Get<float>(absl::StrCat("case", index, ".logits"));
    const auto states = golden.Get<float>(absl::StrCat("case", index, ".states"));
    for (size_t i = 0; i < drafts.size(); ++i) {
      for (int64_t id = 0; id < model.config().vocab_size; ++id) {
        worst_logit = std::max(worst_logit, std::abs(trace.logits[i][id] -
                                                     logits[i * model.config().vocab_size + id]));
      }
      // The first of the golden states is the target's own.
      for (int64_t d = 0; d < hidden; ++d) {
        worst_state =
            std::max(worst_state, std::abs(trace.states[i][d] - states[(i + 1) * hidden + d]));
      }
    }
    GiveBack(model, pages);
    ++index;
  }
  EXPECT_GT(index, 1);
  EXPECT_LE(worst_logit, kLogprobBound);
  EXPECT_LE(worst_state, kLogprobBound);
  std::printf("greatest difference of logits %.2e, of states %.2e\n", worst_logit, worst_state);
}

INSTANTIATE_TEST_SUITE_P(Sources, GoldenDrafterTest,
                         ::testing::Values("assistant.gguf", "assistant"), [](const auto& info) {
                           return info.param == "assistant" ? "Safetensors" : "Gguf";
                         });

// Given a drafter made for another model, expect an error that names what differs.
TEST(GoldenPathTest, DrafterOfAnotherModelIsRefused) {
  LoadOptions options = OnTestDevice();
  options.assistant = absl::StrCat(kFolder, "assistant.gguf");
  EXPECT_THAT(LoadModel(absl::StrCat(kFolder, "quant/q8_0.gguf"), options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("embedding_length_out")));
  options.assistant = absl::StrCat(kFolder, "model.gguf");
  EXPECT_THAT(
      LoadModel(absl::StrCat(kFolder, "model.gguf"), options).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gemma4-assistant as --assistant")));
}

}  // namespace
}  // namespace facet
