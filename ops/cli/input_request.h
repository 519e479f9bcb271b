#ifndef FACET_OPS_CLI_INPUT_REQUEST_H_
#define FACET_OPS_CLI_INPUT_REQUEST_H_

#include <boost/json/fwd.hpp>
#include <memory>

#include "absl/status/statusor.h"
#include "router/request.h"
#include "router/served_model.h"
#include "worker/loaded_model.h"

namespace facet {

// One input line of `generate` and `score` as a request: {"tokens":[...]}, {"text":"..."} or the
// body of an OpenAI chat completion, each with sampling fields. Greedy unless the line gives a
// temperature. Errors name the field.
absl::StatusOr<GenerationRequest> ParseInputRequest(const boost::json::object& line);

// An error of a request, with the prompt called what the line calls it: `tokens` or `text`.
absl::Status InWordsOfLine(const boost::json::object& line, const absl::Status& status);

// What a router would know of `model`: the same code then builds prompts here and there.
absl::StatusOr<std::shared_ptr<const ServedModel>> DescribeLocally(const LoadedModel& model);

}  // namespace facet

#endif  // FACET_OPS_CLI_INPUT_REQUEST_H_
