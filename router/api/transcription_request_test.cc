#include "router/api/transcription_request.h"

#include <boost/json.hpp>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/chat_template.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

using ::testing::HasSubstr;

constexpr char kType[] = "multipart/form-data; boundary=xyz";

// A form with a file and these fields.
std::string Form(const std::map<std::string, std::string>& fields, bool file = true) {
  std::string body;
  for (const auto& [name, value] : fields) {
    absl::StrAppend(&body, "--xyz\r\nContent-Disposition: form-data; name=\"", name, "\"\r\n\r\n",
                    value, "\r\n");
  }
  if (file) {
    absl::StrAppend(&body,
                    "--xyz\r\nContent-Disposition: form-data; name=\"file\"; "
                    "filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n");
  }
  return body + "--xyz--\r\n";
}

std::string RenderedPrompt(const TranscriptionRequest& request) {
  return RenderChat(*std::get<ChatPrompt>(request.generation.prompts[0])).value();
}

// Given a file alone, expect a chat that asks for its words, greedily, as JSON.
TEST(TranscriptionRequestTest, AFileIsEnough) {
  ASSERT_OK_AND_ASSIGN(const TranscriptionRequest request,
                       ParseTranscriptionRequest(kType, Form({})));
  EXPECT_EQ(request.format, TranscriptFormat::kJson);
  EXPECT_EQ(request.generation.sampling.temperature, 0.0f);
  EXPECT_FALSE(request.generation.stream);
  ASSERT_EQ(request.generation.media.size(), 1u);
  EXPECT_EQ(request.generation.media[0].bytes, "RIFF");
  EXPECT_EQ(request.generation.media[0].param, "file");
  EXPECT_THAT(RenderedPrompt(request),
              HasSubstr("<|turn>user\nTranscribe the audio.<|audio|><turn|>"));
}

// Given all fields, expect all of them to count.
TEST(TranscriptionRequestTest, FieldsCount) {
  ASSERT_OK_AND_ASSIGN(
      const TranscriptionRequest request,
      ParseTranscriptionRequest(kType, Form({{"model", "m"},
                                             {"language", "en"},
                                             {"prompt", "Names: Ada"},
                                             {"response_format", "text"},
                                             {"temperature", "0.5"},
                                             {"stream", "true"},
                                             {"timestamp_granularities[]", "segment"}})));
  EXPECT_EQ(request.generation.model, "m");
  EXPECT_EQ(request.language, "en");
  EXPECT_EQ(request.format, TranscriptFormat::kText);
  EXPECT_EQ(request.generation.sampling.temperature, 0.5f);
  EXPECT_TRUE(request.generation.stream);
  EXPECT_THAT(RenderedPrompt(request),
              HasSubstr("Transcribe the audio. The language is \"en\".\nNames: Ada<|audio|>"));
}

// Given each wrong field, expect an error that names it.
TEST(TranscriptionRequestTest, ErrorsNameTheField) {
  const struct {
    const char* name;
    std::string value;
  } kCases[] = {{"response_format", "srt"},
                {"temperature", "warm"},
                {"temperature", "2"},
                {"temperature", "nan"},
                {"stream", "perhaps"},
                {"language", "en\n"},
                {"language", std::string(36, 'a')},
                {"prompt", std::string(20'000, 'x')}};
  for (const auto& c : kCases) {
    const auto request = ParseTranscriptionRequest(kType, Form({{c.name, c.value}}));
    EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument) << c.name;
    EXPECT_EQ(ParamOf(request.status()), c.name);
  }
  EXPECT_EQ(ParamOf(ParseTranscriptionRequest(kType, Form({}, /*file=*/false)).status()), "file");
  EXPECT_EQ(ParamOf(ParseTranscriptionRequest(
                        kType, Form({{"stream", "1"}, {"response_format", "verbose_json"}}))
                        .status()),
            "response_format");
  EXPECT_THAT(std::string(ParseTranscriptionRequest("text/plain", "x").status().message()),
              HasSubstr("multipart/form-data"));
}

}  // namespace
}  // namespace facet
