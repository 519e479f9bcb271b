#include "model/adapter_config.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

// A config with these fields after, and in JSON's way instead of, the usual ones.
absl::StatusOr<AdapterConfig> Parse(absl::string_view fields) {
  return ParseAdapterConfig(
      absl::StrCat(R"({"peft_type":"LORA","r":8,"lora_alpha":16,"bias":"none","lora_dropout":0.1)",
                   fields.empty() ? "" : ",", fields, "}"));
}

// Given PEFT's own defaults, null and empty fields, lists of names and patterns, expect rank and
// scale.
TEST(AdapterConfigTest, GivesRankAndScale) {
  for (const char* fields :
       {"", R"("target_modules":["q_proj","model.language_model.layers.3.mlp.down_proj"])",
        R"("target_modules":"all-linear")", R"("modules_to_save":null,"rank_pattern":{})",
        R"("use_dora":false,"layers_to_transform":[1,2],"inference_mode":true,"revision":null)"}) {
    ASSERT_OK_AND_ASSIGN(const AdapterConfig config, Parse(fields));
    EXPECT_EQ(config.rank, 8);
    EXPECT_EQ(config.scale, 2.0f);
  }
  ASSERT_OK_AND_ASSIGN(const AdapterConfig config, Parse(R"("use_rslora":true)"));
  EXPECT_FLOAT_EQ(config.scale, 16 / std::sqrt(8.0f));
}

// Given what no adapter here may have, expect an error that names the field.
TEST(AdapterConfigTest, BadFieldsAreNamed) {
  const struct {
    const char* text;
    const char* field;
  } kCases[] = {
      {R"({"r":8,"lora_alpha":1})", "'peft_type'"},
      {R"({"peft_type":"IA3","r":8,"lora_alpha":1})", "'peft_type'"},
      {R"({"peft_type":5,"r":8,"lora_alpha":1})", "'peft_type'"},
      {R"({"peft_type":"LORA","lora_alpha":1})", "'r'"},
      {R"({"peft_type":"LORA","r":0,"lora_alpha":1})", "'r'"},
      {R"({"peft_type":"LORA","r":-4,"lora_alpha":1})", "'r'"},
      {R"({"peft_type":"LORA","r":513,"lora_alpha":1})", "'r'"},
      {R"({"peft_type":"LORA","r":4.5,"lora_alpha":1})", "'r'"},
      {R"({"peft_type":"LORA","r":"8","lora_alpha":1})", "'r'"},
      {R"({"peft_type":"LORA","r":8})", "'lora_alpha'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":"1"})", "'lora_alpha'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":1e60})", "'lora_alpha'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":1,"use_rslora":1})", "'use_rslora'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":1,"bias":"all"})", "'bias'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":1,"bias":true})", "'bias'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":1,"use_dora":true})", "'use_dora'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":1,"fan_in_fan_out":true})", "'fan_in_fan_out'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":1,"modules_to_save":["lm_head"]})",
       "'modules_to_save'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":1,"rank_pattern":{"q_proj":4}})",
       "'rank_pattern'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":1,"target_modules":["embed_tokens"]})",
       "'target_modules' has 'embed_tokens'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":1,"target_modules":[5]})", "'target_modules'"},
      {R"({"peft_type":"LORA","r":8,"lora_alpha":1,"target_modules":5})", "'target_modules'"},
      {"[]", "not an object"},
      {"{", "adapter_config.json"},
      {"", "adapter_config.json"},
  };
  for (const auto& test : kCases) {
    EXPECT_THAT(ParseAdapterConfig(test.text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.field)))
        << test.text;
  }
}

}  // namespace
}  // namespace facet
