#include "base/log.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Given text that JSON must escape and a value of each type, expect valid JSON.
TEST(LogTest, BodyIsEscapedJson) {
  EXPECT_EQ(
      LogBody("a \"quote\"\n", {{"name", "b\\c"},
                                {"count", 3},
                                {"ok", true},
                                {"ratio", 0.5},
                                {"bad", std::numeric_limits<double>::quiet_NaN()}}),
      R"("message":"a \"quote\"\n","name":"b\\c","count":3,"ok":true,"ratio":0.5,"bad":null)");
}

// Given one message, expect one line on stderr with time, level and process first; text that looks
// like a format is left as it is.
TEST(LogTest, WritesOneLine) {
  StartLog("router");
  ::testing::internal::CaptureStderr();
  LogWarning("100% {} of it", {{"worker", "a:1"}});
  const std::string line = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(line, StartsWith("{\"time\":\""));
  EXPECT_THAT(line, HasSubstr("Z\",\"level\":\"warning\",\"process\":\"router\","));
  EXPECT_THAT(line, EndsWith("\"message\":\"100% {} of it\",\"worker\":\"a:1\"}\n"));
}

// Given a message below the level, expect nothing.
TEST(LogTest, LevelHides) {
  StartLog("router");
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(IsLogged(LogLevel::kDebug));
  EXPECT_TRUE(IsLogged(LogLevel::kInfo));
  Log(LogLevel::kDebug, "quiet");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace facet
