#ifndef FACET_ROUTER_TEXT_MEDIA_PROMPT_H_
#define FACET_ROUTER_TEXT_MEDIA_PROMPT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/vocabulary.h"
#include "router/media/media_decoder.h"

namespace facet {

// Where the tokens of pictures, sounds and videos stand in a prompt. Pure rules.

// Writes out the placeholders <|image|>, <|audio|> and <|video|> of a prompt's text, of which there
// is one for each of `media`, in order: a placeholder for each token, between the marks of an image
// or a sound; of a video, its timestamps and frames. INVALID_ARGUMENT if text and media disagree.
absl::StatusOr<std::string> ExpandPlaceholders(absl::string_view text,
                                               absl::Span<const DecodedMedia> media);

// The place in `ids` of the first token of each tensor of `media`, in order: the runs of
// placeholders that the text was expanded to. INVALID_ARGUMENT if a run is missing, too many, of
// another kind or of another length.
absl::StatusOr<std::vector<int>> FindSoftTokens(const Vocabulary& vocabulary,
                                                absl::Span<const int> ids,
                                                absl::Span<const DecodedMedia> media);

}  // namespace facet

#endif  // FACET_ROUTER_TEXT_MEDIA_PROMPT_H_
