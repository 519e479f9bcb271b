#include "router/text/media_prompt.h"

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "model/media/video_layout.h"

namespace facet {
namespace {

using Kind = MediaPart::Kind;

constexpr struct {
  absl::string_view text;
  Kind kind;
} kPlaceholders[] = {
    {"<|image|>", Kind::kImage}, {"<|audio|>", Kind::kAudio}, {"<|video|>", Kind::kVideo}};

std::string Repeated(absl::string_view open, absl::string_view soft, int count,
                     absl::string_view close) {
  std::string text(open);
  for (int i = 0; i < count; ++i) absl::StrAppend(&text, soft);
  absl::StrAppend(&text, close);
  return text;
}

std::string TokensOf(const DecodedMedia& media) {
  const int tokens = static_cast<int>(media.tensors[0].head.tokens());
  switch (media.kind) {
    case Kind::kImage:
      return Repeated("<|image>", "<|image|>", tokens, "<image|>");
    case Kind::kAudio:
      return Repeated("<|audio>", "<|audio|>", tokens, "<audio|>");
    case Kind::kVideo:
      return VideoPlaceholders(media.timestamps, tokens);
  }
  return "";
}

absl::Status Disagreement(size_t expected) {
  return absl::InvalidArgumentError(absl::StrCat(
      "the text must have a placeholder (<|image|>, <|audio|>, <|video|>) for each of the ",
      expected, " pictures, sounds and videos, in their order, and none that is only text"));
}

}  // namespace

absl::StatusOr<std::string> ExpandPlaceholders(absl::string_view text,
                                               absl::Span<const DecodedMedia> media) {
  std::string expanded;
  size_t next = 0;
  while (!text.empty()) {
    const size_t mark = text.find("<|");
    absl::StrAppend(&expanded, text.substr(0, mark));
    if (mark == text.npos) break;
    text.remove_prefix(mark);
    bool found = false;
    for (const auto& placeholder : kPlaceholders) {
      if (!absl::ConsumePrefix(&text, placeholder.text)) continue;
      found = true;
      if (next == media.size() || media[next].kind != placeholder.kind) {
        return Disagreement(media.size());
      }
      absl::StrAppend(&expanded, TokensOf(media[next++]));
      break;
    }
    if (found) continue;
    expanded += "<|";
    text.remove_prefix(2);
  }
  if (next != media.size()) return Disagreement(media.size());
  return expanded;
}

absl::StatusOr<std::vector<int>> FindSoftTokens(const Vocabulary& vocabulary,
                                                absl::Span<const int> ids,
                                                absl::Span<const DecodedMedia> media) {
  std::vector<const MediaTensor*> tensors;
  for (const DecodedMedia& part : media) {
    for (const MediaTensor& tensor : part.tensors) tensors.push_back(&tensor);
  }
  const Vocabulary::Roles& roles = vocabulary.roles();
  const auto is_soft = [&](int id) {
    return id == roles.image || id == roles.audio || id == roles.video;
  };
  std::vector<int> places;
  for (size_t at = 0; at < ids.size();) {
    size_t end = at + 1;
    if (!is_soft(ids[at])) {
      at = end;
      continue;
    }
    while (end < ids.size() && ids[end] == ids[at]) ++end;
    const auto kind = ids[at] == roles.audio ? v1::Media::AUDIO : v1::Media::IMAGE;
    if (places.size() == tensors.size() || tensors[places.size()]->head.kind() != kind ||
        tensors[places.size()]->head.tokens() != end - at) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the ", end - at, " placeholder tokens at ", at, " are not those of ",
          places.size() == tensors.size() ? "any picture or sound"
                                          : absl::StrCat("the next picture or sound, which has ",
                                                         tensors[places.size()]->head.tokens())));
    }
    places.push_back(static_cast<int>(at));
    at = end;
  }
  if (places.size() != tensors.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the prompt has placeholder tokens for ", places.size(),
                     " pictures, frames and sounds, but ", tensors.size(), " were given"));
  }
  return places;
}

}  // namespace facet
