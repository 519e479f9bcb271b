#include "ops/cli/chat_session.h"

#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "router/api/chat_parts.h"
#include "router/api/json_fields.h"

namespace facet {
namespace {

namespace json = boost::json;
using Formats = std::map<std::string, std::string>;

// What a file's ending says; `formats` has what may stand there.
absl::StatusOr<std::string> FormatOf(absl::string_view name, const Formats& formats) {
  const std::string ending = absl::AsciiStrToLower(name.substr(name.rfind('.') + 1));
  if (const auto found = formats.find(ending); found != formats.end()) return found->second;
  std::string known;
  for (const auto& [each, format] : formats)
    absl::StrAppend(&known, known.empty() ? "" : ", ", each);
  return absl::InvalidArgumentError(absl::StrCat(name, " ends in none of ", known));
}

}  // namespace

absl::Status ChatSession::AttachImage(absl::string_view name, absl::string_view bytes) {
  static const auto& formats = *new Formats{{"bmp", "bmp"},  {"gif", "gif"}, {"jpeg", "jpeg"},
                                            {"jpg", "jpeg"}, {"png", "png"}, {"webp", "webp"}};
  ASSIGN_OR_RETURN(const std::string format, FormatOf(name, formats));
  attached_.push_back(
      ImageUrlPart(absl::StrCat("data:image/", format, ";base64,", absl::Base64Escape(bytes))));
  return absl::OkStatus();
}

absl::Status ChatSession::AttachAudio(absl::string_view name, absl::string_view bytes) {
  static const auto& formats = *new Formats{{"flac", "flac"}, {"m4a", "m4a"},   {"mp3", "mp3"},
                                            {"ogg", "ogg"},   {"opus", "opus"}, {"wav", "wav"}};
  ASSIGN_OR_RETURN(const std::string format, FormatOf(name, formats));
  attached_.push_back(InputAudioPart(absl::Base64Escape(bytes), format));
  return absl::OkStatus();
}

std::string ChatSession::Ask(absl::string_view text) {
  json::array parts = std::exchange(attached_, json::array());
  parts.push_back(TextPart(text));
  messages_.push_back(json::object{{"role", "user"}, {"content", std::move(parts)}});
  json::object body{{"messages", messages_},
                    {"stream", true},
                    {"reasoning_effort", thinking_ ? "medium" : "none"}};
  if (!model_.empty()) body["model"] = JsonText(model_);
  return json::serialize(body);
}

void ChatSession::Answer(absl::string_view text) {
  if (text.empty()) {
    messages_.pop_back();
    return;
  }
  messages_.push_back(json::object{{"role", "assistant"}, {"content", JsonText(text)}});
}

void ChatSession::Forget() {
  messages_.clear();
  attached_.clear();
}

}  // namespace facet
