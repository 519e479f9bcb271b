#include "router/media/media_parts.h"

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "model/media/image_size.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"

namespace facet {
namespace {

namespace json = boost::json;
using Kind = MediaPart::Kind;

struct PartType {
  absl::string_view name;  // Of the part's `type`, and of the field that holds the rest.
  Kind kind;
};
constexpr PartType kPartTypes[] = {{"image_url", Kind::kImage},
                                   {"input_audio", Kind::kAudio},
                                   {"audio_url", Kind::kAudio},
                                   {"video_url", Kind::kVideo}};

// What `format` may say. The bytes are looked at in any case; this is to catch mistakes.
constexpr absl::string_view kAudioFormats[] = {"wav", "mp3", "flac", "ogg", "opus", "m4a", "aac"};

// Budgets of OpenAI's three levels; `auto` is Gemma's own.
constexpr struct {
  absl::string_view detail;
  int tokens_max;
} kDetails[] = {{"low", 70}, {"auto", 280}, {"high", 1120}};

absl::Status ReadBudget(const JsonFields& fields, std::optional<int>* budget) {
  std::optional<int64_t> number;
  RETURN_IF_ERROR(fields.Integer("max_soft_tokens", 1, 1120, &number));
  if (!number.has_value()) return absl::OkStatus();
  if (!absl::c_linear_search(kImageTokensMaxChoices, *number)) {
    return fields.Wrong("max_soft_tokens",
                        absl::StrCat("one of ", absl::StrJoin(kImageTokensMaxChoices, ", ")));
  }
  *budget = static_cast<int>(*number);
  return absl::OkStatus();
}

// Of the whole request, as vLLM has it.
absl::StatusOr<std::optional<int>> RequestBudget(const json::object& body) {
  std::optional<int> budget;
  ASSIGN_OR_RETURN(const json::object* arguments,
                   JsonFields(body, "").Object("mm_processor_kwargs"));
  if (arguments != nullptr) {
    RETURN_IF_ERROR(ReadBudget(JsonFields(*arguments, "mm_processor_kwargs."), &budget));
  }
  return budget;
}

absl::Status ReadImageOptions(const JsonFields& fields, std::optional<int> budget,
                              MediaPart& part) {
  std::string detail;
  RETURN_IF_ERROR(fields.String("detail", &detail));
  if (!detail.empty()) {
    const auto* found =
        absl::c_find_if(kDetails, [&](const auto& entry) { return entry.detail == detail; });
    if (found == std::end(kDetails)) return fields.Wrong("detail", "low, auto or high");
    part.image_tokens_max = found->tokens_max;
  }
  RETURN_IF_ERROR(ReadBudget(fields, &budget));
  if (budget.has_value()) {
    part.image_tokens_max = *budget;
    part.image_tokens_named = true;
  }
  return absl::OkStatus();
}

absl::Status ReadUrl(const JsonFields& fields, json::object& holder, MediaPart& part) {
  part.param = fields.PathOf("url");
  json::value* value = holder.if_contains("url");
  if (value == nullptr || !value->is_string()) return fields.Wrong("url", "a string");
  const json::string& text = value->get_string();
  const absl::string_view url(text.data(), text.size());
  if (absl::StartsWithIgnoreCase(url, "https://")) {
    part.url = std::string(url);
    return absl::OkStatus();
  }
  if (!absl::StartsWithIgnoreCase(url, "data:")) {
    return InvalidParam(part.param,
                        absl::StrCat("`", part.param, "` must begin with data: or https://."));
  }
  const size_t comma = url.find(',');
  if (comma == url.npos || !absl::EndsWithIgnoreCase(url.substr(0, comma), ";base64")) {
    return InvalidParam(part.param,
                        absl::StrCat("`", part.param, "` is a data URL without `;base64,`."));
  }
  part.base64 = std::string(url.substr(comma + 1));
  if (part.base64.empty()) {
    return InvalidParam(part.param, absl::StrCat("`", part.param, "` is a data URL without data."));
  }
  return absl::OkStatus();
}

absl::Status ReadAudioData(const JsonFields& fields, json::object& holder, MediaPart& part) {
  part.param = fields.PathOf("data");
  std::string format;
  RETURN_IF_ERROR(fields.String("format", &format));
  if (!format.empty() && !absl::c_linear_search(kAudioFormats, format)) {
    return fields.Wrong("format", absl::StrCat("one of ", absl::StrJoin(kAudioFormats, ", ")));
  }
  json::value* value = holder.if_contains("data");
  if (value == nullptr || !value->is_string()) return fields.Wrong("data", "a string of base64");
  const json::string& text = value->get_string();
  if (text.empty()) return fields.Wrong("data", "a string of base64 that is not empty");
  part.base64.assign(text.data(), text.size());
  return absl::OkStatus();
}

// Reads requests part by part, under their common bounds.
class PartReader {
 public:
  static absl::StatusOr<PartReader> Make(const json::object& body) {
    PartReader reader;
    ASSIGN_OR_RETURN(reader.budget_, RequestBudget(body));
    return reader;
  }

  // Whether `value` is a picture, sound or video; then it is taken out of it.
  absl::StatusOr<bool> Take(json::value& value, const std::string& path) {
    const absl::string_view name = TypeNameOf(value);
    const auto* const type =
        absl::c_find_if(kPartTypes, [&](const PartType& entry) { return entry.name == name; });
    if (type == std::end(kPartTypes)) return false;
    ASSIGN_OR_RETURN(MediaPart part, Read(value.get_object(), *type, path));
    bytes_ += part.base64.size();
    if (bytes_ > kMediaBytesMax) {
      return InvalidParam(part.param, absl::StrCat("The pictures, sounds and videos of this "
                                                   "request have more than ",
                                                   kMediaBytesMax >> 20, " MiB together."));
    }
    parts_.push_back(std::move(part));
    if (parts_.size() > kMediaPartsMax) {
      return InvalidParam(path, absl::StrCat("This request has more than ", kMediaPartsMax,
                                             " pictures, sounds and videos."));
    }
    value = json::object{{"type", NameOf(type->kind)}};
    return true;
  }

  std::vector<MediaPart> Finish() { return std::move(parts_); }

 private:
  static absl::string_view TypeNameOf(const json::value& value) {
    if (!value.is_object()) return "";
    const json::value* type = value.get_object().if_contains("type");
    if (type == nullptr || !type->is_string()) return "";
    return {type->get_string().data(), type->get_string().size()};
  }

  absl::StatusOr<MediaPart> Read(json::object& object, const PartType& type,
                                 const std::string& path) const {
    const std::string prefix = absl::StrCat(path, ".");
    const JsonFields fields(object, prefix);
    json::value* holder = object.if_contains({type.name.data(), type.name.size()});
    if (holder == nullptr || !holder->is_object()) return fields.Wrong(type.name, "an object");
    const std::string holder_prefix = absl::StrCat(prefix, type.name, ".");
    const JsonFields holder_fields(holder->get_object(), holder_prefix);
    MediaPart part;
    part.kind = type.kind;
    if (type.name == "input_audio") {
      RETURN_IF_ERROR(ReadAudioData(holder_fields, holder->get_object(), part));
    } else {
      RETURN_IF_ERROR(ReadUrl(holder_fields, holder->get_object(), part));
    }
    if (type.kind == Kind::kImage) {
      RETURN_IF_ERROR(ReadImageOptions(holder_fields, budget_, part));
    }
    return part;
  }

  std::optional<int> budget_;
  int64_t bytes_ = 0;
  std::vector<MediaPart> parts_;
};

// The lists that may hold parts; what is no message or no list is told by who checks messages.
json::array* ContentOf(json::value& message) {
  if (!message.is_object()) return nullptr;
  json::value* content = message.get_object().if_contains("content");
  return content == nullptr ? nullptr : content->if_array();
}

}  // namespace

absl::StatusOr<std::vector<MediaPart>> TakeMediaParts(json::object& body) {
  ASSIGN_OR_RETURN(PartReader reader, PartReader::Make(body));
  json::value* messages = body.if_contains("messages");
  if (messages == nullptr || !messages->is_array()) return std::vector<MediaPart>();
  for (size_t i = 0; i < messages->get_array().size(); ++i) {
    json::array* content = ContentOf(messages->get_array()[i]);
    for (size_t k = 0; content != nullptr && k < content->size(); ++k) {
      const std::string path = absl::StrCat("messages[", i, "].content[", k, "]");
      RETURN_IF_ERROR(reader.Take((*content)[k], path).status());
    }
  }
  return reader.Finish();
}

bool IsMediaPartType(absl::string_view type) {
  return absl::c_any_of(kPartTypes, [&](const PartType& entry) { return entry.name == type; });
}

absl::StatusOr<std::vector<MediaPart>> TakeMediaList(json::object& body) {
  ASSIGN_OR_RETURN(PartReader reader, PartReader::Make(body));
  ASSIGN_OR_RETURN(const json::array* present, JsonFields(body, "").Array("media"));
  if (present == nullptr) return std::vector<MediaPart>();
  json::array& media = body["media"].get_array();
  for (size_t i = 0; i < media.size(); ++i) {
    const std::string path = absl::StrCat("media[", i, "]");
    ASSIGN_OR_RETURN(const bool taken, reader.Take(media[i], path));
    if (!taken) {
      return WrongValue(path, "of type image_url, input_audio, audio_url or video_url", media[i]);
    }
  }
  return reader.Finish();
}

}  // namespace facet
