#include "ops/cli/chat_session.h"

#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

namespace json = boost::json;
using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

json::value MessagesOf(const std::string& body) { return json::parse(body).at("messages"); }

// Given questions and answers, expect them all in the next body, and none after a reset.
TEST(ChatSessionTest, RemembersUntilItForgets) {
  ChatSession session("small", /*thinking=*/true);
  const json::value body = json::parse(session.Ask("a"));
  EXPECT_EQ(body.at("model"), "small");
  EXPECT_EQ(body.at("stream"), true);
  EXPECT_EQ(body.at("reasoning_effort"), "medium");
  session.Answer("b");
  const json::value messages = MessagesOf(session.Ask("c"));
  ASSERT_EQ(messages.as_array().size(), 3u);
  EXPECT_EQ(messages.at(1).at("content"), "b");
  EXPECT_EQ(messages.at(2).at("content").at(0).at("text"), "c");
  session.Forget();
  EXPECT_EQ(MessagesOf(session.Ask("d")).as_array().size(), 1u);
}

// Given an answer that did not come, expect its question to be gone too.
TEST(ChatSessionTest, TakesBackWhatWasNotAnswered) {
  ChatSession session("", /*thinking=*/false);
  session.Ask("a");
  session.Answer("");
  EXPECT_EQ(MessagesOf(session.Ask("b")).as_array().size(), 1u);
}

// Given files, expect them before the text of the next question, and of that alone.
TEST(ChatSessionTest, AttachesFilesToOneQuestion) {
  ChatSession session("", /*thinking=*/false);
  ASSERT_OK(session.AttachImage("a/b.JPG", "xy"));
  ASSERT_OK(session.AttachAudio("c.wav", "z"));
  const json::value content = MessagesOf(session.Ask("d")).at(0).at("content");
  ASSERT_EQ(content.as_array().size(), 3u);
  EXPECT_EQ(content.at(0).at("image_url").at("url"), "data:image/jpeg;base64,eHk=");
  EXPECT_EQ(content.at(1).at("input_audio").at("format"), "wav");
  session.Answer("e");
  EXPECT_EQ(MessagesOf(session.Ask("f")).at(2).at("content").as_array().size(), 1u);
  EXPECT_THAT(session.AttachImage("notes.txt", ""),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("png")));
}

}  // namespace
}  // namespace facet
