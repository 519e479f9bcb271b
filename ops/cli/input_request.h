#ifndef FACET_OPS_CLI_INPUT_REQUEST_H_
#define FACET_OPS_CLI_INPUT_REQUEST_H_

#include <boost/json/fwd.hpp>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/worker.pb.h"
#include "router/api/request.h"
#include "router/media/loaded_media.h"
#include "router/text/served_model.h"
#include "worker/loaded_model.h"

namespace facet {

// One input line of `generate`, `score` and `embed` as a request: {"tokens":[...]}, {"text":"..."}
// (each may have `media`, a list of content parts) or the body of an OpenAI chat completion, with
// sampling fields. Greedy unless the line gives a temperature. Errors name the field.
absl::StatusOr<GenerationRequest> ParseInputRequest(const boost::json::object& line);

// Decodes the request's pictures, sounds and videos on this thread. InvalidParam names the field.
absl::Status DecodeMediaOf(GenerationRequest& request, const v1::MediaSupport& support);

// The data of `media` put into a request that names them.
void PutMediaData(const LoadedMedia& media, v1::GenerateRequest& request);

// An error of a request, with the prompt called what the line calls it: `tokens` or `text`.
absl::Status InWordsOfLine(const boost::json::object& line, const absl::Status& status);

// What a router would know of `model`: the same code then builds prompts here and there.
absl::StatusOr<std::shared_ptr<const ServedModel>> DescribeLocally(const LoadedModel& model);

}  // namespace facet

#endif  // FACET_OPS_CLI_INPUT_REQUEST_H_
