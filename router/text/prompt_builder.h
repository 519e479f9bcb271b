#ifndef FACET_ROUTER_TEXT_PROMPT_BUILDER_H_
#define FACET_ROUTER_TEXT_PROMPT_BUILDER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/page_key.h"
#include "proto/worker.pb.h"
#include "router/api/request.h"
#include "router/media/loaded_media.h"
#include "router/text/served_model.h"

namespace facet {

// One answer to generate: what goes to a worker, and how its ids are to be read.
struct BuiltChoice {
  v1::GenerateRequest request;
  bool starts_in_channel = false;            // The prompt ended inside a thought.
  std::string echo;                          // What the answer begins with.
  std::shared_ptr<const LoadedMedia> media;  // What request.media names; null: nothing.
  // RequestPageKeys of `request`; shared by all answers to one prompt.
  std::shared_ptr<const std::vector<PageKey>> page_keys;
};

// Text to ids: the chat template where there is one, then the tokenizer.
struct BuiltPrompt {
  std::vector<int> tokens;
  bool starts_in_channel = false;
  std::vector<int> media_places;  // Of the first token of each tensor.
};
// Errors are InvalidParam; of a chat, `messages` is what they name at least. `media` may be null.
absl::StatusOr<BuiltPrompt> BuildPrompt(const ServedModel& model, const Prompt& prompt,
                                        const LoadedMedia* media, bool add_special = true);

// The answers of a request, prompt by prompt, `choices_per_prompt` for each. `draw_seed` is called
// once if the client gave no seed. Errors are InvalidParam: an id outside the vocabulary, more
// tokens than the context holds; or NOT_FOUND for another model than `model`.
absl::StatusOr<std::vector<BuiltChoice>> BuildChoices(const ServedModel& model,
                                                      const GenerationRequest& request,
                                                      const std::function<uint64_t()>& draw_seed);

}  // namespace facet

#endif  // FACET_ROUTER_TEXT_PROMPT_BUILDER_H_
