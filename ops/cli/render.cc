#include <boost/json.hpp>

#include "base/status_macros.h"
#include "model/chat_template.h"
#include "model/model_file.h"
#include "model/tokenizer.h"
#include "model/vocabulary.h"
#include "ops/cli/command.h"
#include "ops/cli/input_request.h"
#include "ops/cli/json_lines.h"
#include "router/media/media_parts.h"
#include "router/text/media_prompt.h"
#include "worker/media_embedder.h"
#include "worker/model_flags.h"

namespace facet {
namespace {

namespace json = boost::json;

// A model file alone does not say whether it takes pictures, so all are rendered; the size of
// pictures is as the projector says, if it is there.
absl::StatusOr<v1::MediaSupport> Support(const Metadata& model) {
  const std::string mmproj = LoadOptionsFromFlags().mmproj;
  v1::MediaSupport support;
  support.set_images(true);
  support.set_sounds(true);
  if (mmproj.empty()) {
    ASSIGN_OR_RETURN(const int tokens_max, ImageTokensMaxOf(model));
    support.set_image_tokens_max(tokens_max);
  } else {
    ASSIGN_OR_RETURN(const Metadata projector, ReadModelMetadata(mmproj));
    ASSIGN_OR_RETURN(const int tokens_max, ImageTokensMaxOf(projector));
    support.set_image_tokens_max(tokens_max);
  }
  return support;
}

absl::StatusOr<std::string> Render(json::object chat, const v1::MediaSupport& support) {
  GenerationRequest request;
  ASSIGN_OR_RETURN(request.media, TakeMediaParts(chat));
  RETURN_IF_ERROR(DecodeMediaOf(request, support));
  ASSIGN_OR_RETURN(const std::string prompt, RenderChat(chat));
  if (request.loaded_media == nullptr) return prompt;
  return ExpandPlaceholders(prompt, request.loaded_media->parts);
}

absl::Status Run(const std::vector<absl::string_view>&) {
  ASSIGN_OR_RETURN(const std::string path, ModelPath());
  ASSIGN_OR_RETURN(const Metadata metadata, ReadModelMetadata(path));
  ASSIGN_OR_RETURN(auto vocabulary, Vocabulary::FromMetadata(metadata));
  ASSIGN_OR_RETURN(const v1::MediaSupport support, Support(metadata));
  const Tokenizer tokenizer(vocabulary);
  return ForEachInputLine([&](const json::object& line) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string prompt, Render(line, support));
    PrintLine({{"prompt", prompt}, {"ids", json::value_from(tokenizer.Encode(prompt, {}))}});
    return absl::OkStatus();
  });
}

}  // namespace

const Command kRenderCommand = {
    "render", "a chat in, the prompt and its ids out",
    "facet render --model=PATH: JSON lines on stdin, each the body of an OpenAI chat completion\n"
    "(messages, tools), with the template's own arguments at the top level: enable_thinking,\n"
    "add_generation_prompt, preserve_thinking. Pictures, sounds and videos as data: URLs are "
    "written\n"
    "out as the tokens they have. Gives a line {\"prompt\":\"...\",\"ids\":[...]}.\n\n"
    "  echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}' | facet render "
    "--model=facet-nano.gguf",
    Run};

}  // namespace facet
