#include "router/text/prompt_builder.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "router/api/api_error.h"
#include "router/api/openai_request.h"
#include "router/text/served_model.h"
#include "tests/fake_worker/small_model.h"

namespace facet {
namespace {

using ::facet::testing::SmallDescription;
using ::facet::testing::SmallText;

class PromptBuilderTest : public ::testing::Test {
 protected:
  PromptBuilderTest() : model_(*MakeServedModel(SmallDescription(), 0)) {}

  absl::StatusOr<std::vector<BuiltChoice>> Build(const absl::StatusOr<GenerationRequest>& request) {
    if (!request.ok()) return request.status();
    return BuildChoices(*model_, *request, [this] { return ++seeds_drawn_; });
  }
  static std::string PromptText(const BuiltChoice& choice) {
    const auto& ids = choice.request.prompt_tokens();
    return SmallText({ids.begin(), ids.end()});
  }

  std::shared_ptr<const ServedModel> model_;
  uint64_t seeds_drawn_ = 0;
};

// Given a chat, expect the template's text with <bos> once, and the model's defaults.
TEST_F(PromptBuilderTest, ChatTakesTheTemplateAndDefaults) {
  ASSERT_OK_AND_ASSIGN(const auto choices,
                       Build(ParseChatRequest(absl::string_view(
                           R"({"messages":[{"role":"user","content":"the"}]})"))));
  ASSERT_EQ(choices.size(), 1u);
  const v1::GenerateRequest& request = choices[0].request;
  EXPECT_EQ(SmallText({request.prompt_tokens().begin(), request.prompt_tokens().end()}),
            "<bos><|turn>user\nthe<turn|>\n<|turn>model\n<|channel>thought\n<channel|>");
  EXPECT_EQ(request.tokens_max(), 4096u - request.prompt_tokens_size());
  EXPECT_FLOAT_EQ(request.sampling().temperature(), 0.5f);
  EXPECT_EQ(request.sampling().top_k(), 32u);
  EXPECT_EQ(request.sampling().seed(), 1u);
  EXPECT_FALSE(choices[0].starts_in_channel);
  EXPECT_GE(request.stop_tokens_size(), 3);
}

// Given n = 2 and no seed, expect one seed and two sample indices.
TEST_F(PromptBuilderTest, ChoicesShareASeed) {
  ASSERT_OK_AND_ASSIGN(const auto choices,
                       Build(ParseCompletionRequest(R"({"prompt":["a","b"],"n":2})")));
  ASSERT_EQ(choices.size(), 4u);
  EXPECT_EQ(seeds_drawn_, 1u);
  EXPECT_EQ(choices[1].request.sampling().sample_index(), 1u);
  EXPECT_EQ(choices[2].request.sampling().sample_index(), 0u);
  EXPECT_EQ(PromptText(choices[1]), "<bos>a");
  EXPECT_EQ(PromptText(choices[2]), "<bos>b");
}

// Given a seed of 0, expect it, and none drawn.
TEST_F(PromptBuilderTest, SeedZeroIsASeed) {
  ASSERT_OK_AND_ASSIGN(const auto choices,
                       Build(ParseCompletionRequest(R"({"prompt":"a","seed":0})")));
  EXPECT_EQ(seeds_drawn_, 0u);
  EXPECT_TRUE(choices[0].request.sampling().has_seed());
}

// Given ids, expect them as they are; given ignore_eos, no stop ids.
TEST_F(PromptBuilderTest, IdsAsTheyAre) {
  ASSERT_OK_AND_ASSIGN(const auto choices,
                       Build(ParseCompletionRequest(R"({"prompt":[5,6],"ignore_eos":true})")));
  EXPECT_EQ(choices[0].request.prompt_tokens_size(), 2);
  EXPECT_EQ(choices[0].request.stop_tokens_size(), 0);
}

// Given echo, expect the prompt's text in front.
TEST_F(PromptBuilderTest, EchoGivesThePrompt) {
  ASSERT_OK_AND_ASSIGN(const auto choices,
                       Build(ParseCompletionRequest(R"({"prompt":"the a","echo":true})")));
  EXPECT_EQ(choices[0].echo, "the a");
}

// Given requests that the model cannot serve, expect the field and the code.
TEST_F(PromptBuilderTest, ErrorsNameTheField) {
  const struct {
    const char* body;
    const char* param;
    const char* code;
  } kCases[] = {
      {R"({"prompt":"a","model":"other"})", "model", "model_not_found"},
      {R"({"prompt":[1,100000]})", "prompt", ""},
      {R"({"prompt":[[]]})", "prompt", ""},
      {R"({"prompt":"a","max_tokens":4095})", "prompt", "context_length_exceeded"},
      {R"({"prompt":"a","logit_bias":{"100000":1}})", "logit_bias", ""},
  };
  for (const auto& c : kCases) {
    const absl::Status status = Build(ParseCompletionRequest(c.body)).status();
    EXPECT_EQ(ParamOf(status), c.param) << c.body << ": " << status;
    EXPECT_EQ(CodeOf(status), c.code) << c.body << ": " << status;
  }
  EXPECT_EQ(HttpStatusOf(Build(ParseCompletionRequest(kCases[0].body)).status()), 404);
  EXPECT_EQ(HttpStatusOf(Build(ParseCompletionRequest(kCases[3].body)).status()), 400);
}

}  // namespace
}  // namespace facet
