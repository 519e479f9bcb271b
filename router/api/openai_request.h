#ifndef FACET_ROUTER_API_OPENAI_REQUEST_H_
#define FACET_ROUTER_API_OPENAI_REQUEST_H_

#include <boost/json/fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "router/api/field_names.h"
#include "router/api/request.h"

namespace facet {

// OpenAI's request bodies to the internal form. Types are strict, numbers are bounded, a field that
// is not known is ignored, null counts as absent. Errors are InvalidParam and name the field.
// Pure functions.

// POST /v1/chat/completions.
absl::StatusOr<GenerationRequest> ParseChatRequest(absl::string_view body);
absl::StatusOr<GenerationRequest> ParseChatRequest(boost::json::object body);

// POST /v1/completions.
absl::StatusOr<GenerationRequest> ParseCompletionRequest(absl::string_view body);

// POST /tokenize: a `prompt`, or what a chat has.
struct TokenizeRequest {
  GenerationRequest generation;    // Its model, prompt and media.
  FieldNames names;                // Of these, where the endpoint calls them otherwise.
  bool add_special_tokens = true;  // <bos> before a `prompt`.
  bool return_token_strs = false;
};
absl::StatusOr<TokenizeRequest> ParseTokenizeRequest(absl::string_view body);

// POST /detokenize.
struct DetokenizeRequest {
  std::string model;
  std::vector<int> tokens;
};
absl::StatusOr<DetokenizeRequest> ParseDetokenizeRequest(absl::string_view body);

}  // namespace facet

#endif  // FACET_ROUTER_API_OPENAI_REQUEST_H_
