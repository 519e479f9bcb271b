#include "router/api/transcription_request.h"

#include <boost/json.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "router/api/api_error.h"
#include "router/api/multipart.h"

namespace facet {
namespace {

namespace json = boost::json;

constexpr size_t kPromptBytesMax = 16 << 10;
constexpr size_t kLanguageBytesMax = 35;  // of a tag of RFC 5646, as good as any

// The fields of a form by name.
class Form {
 public:
  explicit Form(std::vector<FormField> fields) : fields_(std::move(fields)) {}

  // Null if it is not there. The first counts.
  const FormField* Find(absl::string_view name) const {
    const auto found =
        absl::c_find_if(fields_, [&](const FormField& field) { return field.name == name; });
    return found == fields_.end() ? nullptr : &*found;
  }
  // Empty if it is not there.
  absl::string_view Text(absl::string_view name) const {
    const FormField* field = Find(name);
    return field == nullptr ? "" : field->value;
  }

 private:
  const std::vector<FormField> fields_;
};

absl::Status Wrong(absl::string_view name, absl::string_view expected) {
  return InvalidParam(name, absl::StrCat("`", name, "` must be ", expected, "."));
}

absl::Status ReadFormat(const Form& form, TranscriptFormat* format) {
  const absl::string_view text = form.Text("response_format");
  if (text == "text") {
    *format = TranscriptFormat::kText;
  } else if (text == "verbose_json") {
    *format = TranscriptFormat::kVerboseJson;
  } else if (!text.empty() && text != "json") {
    return Wrong("response_format", "json, text or verbose_json");
  }
  return absl::OkStatus();
}

absl::Status ReadOptions(const Form& form, TranscriptionRequest& request) {
  RETURN_IF_ERROR(ReadFormat(form, &request.format));
  request.generation.model = std::string(form.Text("model"));
  request.language = std::string(form.Text("language"));
  const bool is_tag =
      request.language.size() <= kLanguageBytesMax &&
      absl::c_all_of(request.language, [](char c) { return absl::ascii_isalnum(c) || c == '-'; });
  if (!is_tag) return Wrong("language", "the short name of a language, as \"en\"");
  const absl::string_view temperature = form.Text("temperature");
  float number = 0;
  // Written so that NaN fails.
  if (!temperature.empty() &&
      !(absl::SimpleAtof(temperature, &number) && number >= 0 && number <= 1)) {
    return Wrong("temperature", "a number from 0 to 1");
  }
  request.generation.sampling.temperature = number;
  const absl::string_view stream = form.Text("stream");
  if (!stream.empty() && !absl::SimpleAtob(stream, &request.generation.stream)) {
    return Wrong("stream", "true or false");
  }
  if (request.generation.stream && request.format == TranscriptFormat::kVerboseJson) {
    return Wrong("response_format", "json or text for a stream");
  }
  return absl::OkStatus();
}

std::string Instruction(const std::string& language, absl::string_view prompt) {
  std::string text = "Transcribe the audio.";
  if (!language.empty()) absl::StrAppend(&text, " The language is \"", language, "\".");
  if (!prompt.empty()) absl::StrAppend(&text, "\n", prompt);
  return text;
}

}  // namespace

absl::StatusOr<TranscriptionRequest> ParseTranscriptionRequest(absl::string_view content_type,
                                                               absl::string_view body) {
  ASSIGN_OR_RETURN(std::vector<FormField> fields, ParseMultipart(content_type, body));
  const Form form(std::move(fields));
  TranscriptionRequest request;
  RETURN_IF_ERROR(ReadOptions(form, request));
  const FormField* file = form.Find("file");
  if (file == nullptr || file->value.empty()) {
    return InvalidParam("file", "`file` is required: a sound.");
  }
  const absl::string_view prompt = form.Text("prompt");
  if (prompt.size() > kPromptBytesMax) {
    return Wrong("prompt", absl::StrCat("at most ", kPromptBytesMax, " bytes long"));
  }

  GenerationRequest& generation = request.generation;
  generation.endpoint = "transcriptions";
  generation.parse_chat = true;
  MediaPart& sound = generation.media.emplace_back();
  sound.kind = MediaPart::Kind::kAudio;
  sound.param = "file";
  sound.bytes = std::string(file->value);
  const std::string text = Instruction(request.language, prompt);
  json::array content{{{"type", "text"}, {"text", text}}, {{"type", "audio"}}};
  json::object chat{{"messages", {{{"role", "user"}, {"content", std::move(content)}}}}};
  generation.prompts.emplace_back(std::make_shared<const json::object>(std::move(chat)));
  return request;
}

}  // namespace facet
