#ifndef FACET_ROUTER_API_STRUCTURED_OUTPUT_H_
#define FACET_ROUTER_API_STRUCTURED_OUTPUT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "router/api/json_fields.h"
#include "router/api/request.h"
#include "router/text/served_model.h"

namespace facet {

// Reads `response_format`, vLLM's `structured_outputs` and its older `guided_json`, `guided_regex`,
// `guided_choice` and `guided_grammar`. At most one of them may be given.
absl::Status ParseStructuredOutput(const JsonFields& fields, StructuredOutput& structure);

// Reads `tool_choice` and `parallel_tool_calls` of a chat, whose `tools` were checked. Gives back
// whether the model shall see the tools.
absl::StatusOr<bool> ParseToolChoice(const JsonFields& fields, StructuredOutput& structure);

// The grammar of the answer to a prompt, for the worker; empty: anything. What is asked for begins
// after the thought, if there is one. INVALID_ARGUMENT names the field that asked for what cannot
// be compiled.
absl::StatusOr<std::string> BuildGrammar(const ServedModel& model, const GenerationRequest& request,
                                         const Prompt& prompt, bool starts_in_channel);

}  // namespace facet

#endif  // FACET_ROUTER_API_STRUCTURED_OUTPUT_H_
