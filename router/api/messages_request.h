#ifndef FACET_ROUTER_API_MESSAGES_REQUEST_H_
#define FACET_ROUTER_API_MESSAGES_REQUEST_H_

#include <boost/json/fwd.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "router/api/openai_request.h"
#include "router/http/api_call.h"

namespace facet {

// Bodies of Anthropic's Messages API, brought into the form of a chat completion, so that both go
// one way from there. Errors are InvalidParam and name the field as the client wrote it. Pure
// functions.

// POST /v1/messages.
absl::StatusOr<ApiCall> ParseMessagesCall(absl::string_view body);

// POST /v1/messages/count_tokens: the prompt that the same body would give.
absl::StatusOr<TokenizeRequest> ParseCountTokensRequest(absl::string_view body);

// The chat completion's body, with the names of its fields. `names` may be filled on errors too.
absl::StatusOr<boost::json::object> ChatBodyOfMessages(const boost::json::object& body,
                                                       FieldNames& names);

}  // namespace facet

#endif  // FACET_ROUTER_API_MESSAGES_REQUEST_H_
