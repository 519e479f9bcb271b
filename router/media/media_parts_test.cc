#include "router/media/media_parts.h"

#include <boost/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

namespace json = boost::json;
using ::facet::testing::StatusIs;
using ::testing::HasSubstr;
using Kind = MediaPart::Kind;

json::object Parse(const std::string& text) { return json::parse(text).as_object(); }

// A chat whose second message has a text and then `part`.
json::object Chat(const std::string& part, const std::string& more = "") {
  return Parse(absl::StrCat(R"({"messages":[{"role":"system","content":"S"},)",
                            R"({"role":"user","content":[{"type":"text","text":"T"},)", part, "]}]",
                            more, "}"));
}

std::string Image(const std::string& fields) {
  return absl::StrCat(R"({"type":"image_url","image_url":{)", fields, "}}");
}

// Given parts of every kind, expect what they hold, and the bare types in their place.
TEST(MediaPartsTest, TakesPartsOut) {
  json::object body = Parse(R"({"messages":[{"role":"user","content":[
      {"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}},
      {"type":"text","text":"and"},
      {"type":"input_audio","input_audio":{"data":"REVG","format":"wav"}},
      {"type":"audio_url","audio_url":{"url":"https://a.example/s.mp3"}},
      {"type":"video_url","video_url":{"url":"DATA:video/mp4;codecs=x;BASE64,R0hJ"}}]}]})");
  ASSERT_OK_AND_ASSIGN(const std::vector<MediaPart> parts, TakeMediaParts(body));
  ASSERT_EQ(parts.size(), 4u);
  EXPECT_EQ(parts[0].kind, Kind::kImage);
  EXPECT_EQ(parts[0].base64, "QUJD");
  EXPECT_EQ(parts[0].param, "messages[0].content[0].image_url.url");
  EXPECT_EQ(parts[1].kind, Kind::kAudio);
  EXPECT_EQ(parts[1].base64, "REVG");
  EXPECT_EQ(parts[1].param, "messages[0].content[2].input_audio.data");
  EXPECT_EQ(parts[2].kind, Kind::kAudio);
  EXPECT_EQ(parts[2].url, "https://a.example/s.mp3");
  EXPECT_EQ(parts[3].kind, Kind::kVideo);
  EXPECT_EQ(parts[3].base64, "R0hJ");
  EXPECT_EQ(json::serialize(body.at("messages").at(0).at("content")),
            R"([{"type":"image"},{"type":"text","text":"and"},{"type":"audio"},)"
            R"({"type":"audio"},{"type":"video"}])");
}

// Given each way to ask for a budget, expect it.
TEST(MediaPartsTest, Budgets) {
  const struct {
    const char *fields, *more;
    int tokens_max;
    bool named;
  } kCases[] = {
      {"", "", 280, false},
      {R"(,"detail":"low")", "", 70, false},
      {R"(,"detail":"auto")", "", 280, false},
      {R"(,"detail":"high")", "", 1120, false},
      {R"(,"detail":null)", "", 280, false},
      {R"(,"max_soft_tokens":560)", "", 560, true},
      {R"(,"detail":"low","max_soft_tokens":140)", "", 140, true},
      {"", R"(,"mm_processor_kwargs":{"max_soft_tokens":70})", 70, true},
      {R"(,"max_soft_tokens":1120)", R"(,"mm_processor_kwargs":{"max_soft_tokens":70})", 1120,
       true},
  };
  for (const auto& c : kCases) {
    json::object body =
        Chat(Image(absl::StrCat(R"("url":"data:image/png;base64,QUJD")", c.fields)), c.more);
    ASSERT_OK_AND_ASSIGN(const std::vector<MediaPart> parts, TakeMediaParts(body));
    ASSERT_EQ(parts.size(), 1u);
    EXPECT_EQ(parts[0].image_tokens_max, c.tokens_max) << c.fields << c.more;
    EXPECT_EQ(parts[0].image_tokens_named, c.named) << c.fields << c.more;
  }
}

// Given each bad part, expect an error that names its field and says what is wrong.
TEST(MediaPartsTest, RefusesBadParts) {
  constexpr char kData[] = R"("url":"data:image/png;base64,QUJD")";
  const struct {
    std::string part, param, what;
  } kCases[] = {
      {R"({"type":"image_url"})", "image_url", "required"},
      {R"({"type":"image_url","image_url":"data:image/png;base64,QUJD"})", "image_url",
       "must be an object"},
      {Image(""), "image_url.url", "required"},
      {Image(R"("url":7)"), "image_url.url", "must be a string"},
      {Image(R"("url":"")"), "image_url.url", "data: or https://"},
      {Image(R"("url":"http://a.example/")"), "image_url.url", "data: or https://"},
      {Image(R"("url":"file:///etc/passwd")"), "image_url.url", "data: or https://"},
      {Image(R"("url":"data:image/png,abc")"), "image_url.url", "base64"},
      {Image(R"("url":"data:image/png;base64")"), "image_url.url", "base64"},
      {Image(R"("url":"data:image/png;base64,")"), "image_url.url", "without data"},
      {Image(absl::StrCat(kData, R"(,"detail":"medium")")), "image_url.detail", "low, auto or"},
      {Image(absl::StrCat(kData, R"(,"detail":3)")), "image_url.detail", "a string"},
      {Image(absl::StrCat(kData, R"(,"max_soft_tokens":100)")), "image_url.max_soft_tokens",
       "70, 140, 280, 560, 1120"},
      {Image(absl::StrCat(kData, R"(,"max_soft_tokens":-1)")), "image_url.max_soft_tokens",
       "whole number"},
      {Image(absl::StrCat(kData, R"(,"max_soft_tokens":"70")")), "image_url.max_soft_tokens",
       "whole number"},
      {R"({"type":"input_audio"})", "input_audio", "required"},
      {R"({"type":"input_audio","input_audio":{"format":"wav"}})", "input_audio.data", "required"},
      {R"({"type":"input_audio","input_audio":{"data":""}})", "input_audio.data", "not empty"},
      {R"({"type":"input_audio","input_audio":{"data":[1]}})", "input_audio.data", "a string"},
      {R"({"type":"input_audio","input_audio":{"data":"QQ==","format":"midi"}})",
       "input_audio.format", "wav, mp3"},
      {R"({"type":"audio_url","audio_url":{"url":"ftp://x"}})", "audio_url.url", "data: or"},
      {R"({"type":"video_url","video_url":{}})", "video_url.url", "required"},
  };
  for (const auto& c : kCases) {
    json::object body = Chat(c.part);
    const auto parts = TakeMediaParts(body);
    EXPECT_THAT(parts, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.what))) << c.part;
    EXPECT_EQ(ParamOf(parts.status()), absl::StrCat("messages[1].content[1].", c.param)) << c.part;
  }
  json::object body = Chat(Image(kData), R"(,"mm_processor_kwargs":{"max_soft_tokens":71})");
  EXPECT_EQ(ParamOf(TakeMediaParts(body).status()), "mm_processor_kwargs.max_soft_tokens");
}

// Given more parts than a request may have, expect an error that says the limit.
TEST(MediaPartsTest, RefusesTooMany) {
  std::string parts = Image(R"("url":"data:image/png;base64,QUJD")");
  for (int i = 1; i < kMediaPartsMax; ++i) {
    parts += "," + Image(R"("url":"data:image/png;base64,QUJD")");
  }
  json::object fits = Chat(parts), too_many = Chat(parts + "," + Image(R"("url":"https://x/")"));
  EXPECT_OK(TakeMediaParts(fits));
  EXPECT_THAT(TakeMediaParts(too_many),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 64")));
}

// Given more bytes than a request may have, expect an error that says the limit.
TEST(MediaPartsTest, RefusesTooManyBytes) {
  json::object body = Chat(Image(R"("url":"data:image/png;base64,QUJD")"));
  json::array& content = body["messages"].at(1).at("content").as_array();
  json::value& url = content[1].at("image_url").at("url");
  url = json::string("data:image/png;base64," + std::string(kMediaBytesMax, 'A') + "A");
  EXPECT_THAT(TakeMediaParts(body),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 128 MiB")));
}

// Given a list beside a prompt, expect its parts; given what is none, an error.
TEST(MediaPartsTest, Lists) {
  json::object body = Parse(
      absl::StrCat(R"({"prompt":"x","media":[)", Image(R"("url":"https://a.example/x")"), "]}"));
  ASSERT_OK_AND_ASSIGN(const std::vector<MediaPart> parts, TakeMediaList(body));
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].param, "media[0].image_url.url");
  json::object none = Parse("{}"), text = Parse(R"({"media":[{"type":"text","text":"x"}]})"),
               other = Parse(R"({"media":{}})");
  EXPECT_THAT(*TakeMediaList(none), ::testing::IsEmpty());
  EXPECT_EQ(ParamOf(TakeMediaList(text).status()), "media[0]");
  EXPECT_EQ(ParamOf(TakeMediaList(other).status()), "media");
}

}  // namespace
}  // namespace facet
