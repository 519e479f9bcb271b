#ifndef FACET_ROUTER_API_RESPONSES_REQUEST_H_
#define FACET_ROUTER_API_RESPONSES_REQUEST_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "router/api/response_store.h"
#include "router/http/api_call.h"

namespace facet {

// POST /v1/responses, brought into the form of a chat completion, so that both go one way from
// there. A `previous_response_id` is read from `store`, which must outlive the call: what it was
// asked and what it answered stand before the new input. Errors are InvalidParam and name the field
// as the client wrote it, or the store's NOT_FOUND.
absl::StatusOr<ApiCall> ParseResponsesCall(absl::string_view body, ResponseStore& store);

}  // namespace facet

#endif  // FACET_ROUTER_API_RESPONSES_REQUEST_H_
