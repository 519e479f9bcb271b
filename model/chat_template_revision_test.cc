#include "model/chat_template_revision.h"

#include "gtest/gtest.h"
#include "model/testing/files.h"

namespace facet {
namespace {

// Given the bundled model's own template, expect it known, so that serving it warns of nothing; and
// a changed one unknown.
TEST(ChatTemplateRevisionTest, KnowsTheBundledTemplate) {
  std::string jinja = testing::ReadFile("model/nano/chat_template.jinja");
  while (!jinja.empty() && jinja.back() == '\n') jinja.pop_back();
  EXPECT_TRUE(IsKnownChatTemplate(jinja));
  EXPECT_FALSE(IsKnownChatTemplate(jinja + " "));
  EXPECT_FALSE(IsKnownChatTemplate(""));
}

}  // namespace
}  // namespace facet
