#ifndef FACET_ROUTER_API_API_ERROR_H_
#define FACET_ROUTER_API_API_ERROR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace facet {

// Errors that clients see. They travel as absl::Status; `param` (the field that is wrong, e.g.
// "messages[2].content") and `code` ride along as payloads.

// INVALID_ARGUMENT, HTTP 400. `param` and `code` may be empty.
absl::Status InvalidParam(absl::string_view param, absl::string_view message,
                          absl::string_view code = "");
// The same for an error of another kind.
absl::Status WithParam(absl::Status status, absl::string_view param, absl::string_view code);

// The same error, to be tried again after so long.
absl::Status WithRetryAfter(absl::Status status, double seconds);

std::string ParamOf(const absl::Status& status);
std::string CodeOf(const absl::Status& status);

// The HTTP status for an error. REQUIRES: !status.ok().
int HttpStatusOf(const absl::Status& status);
// Whole seconds for the Retry-After header, of errors that pass: at least 1, at most an hour. 0:
// none.
int RetryAfterSeconds(const absl::Status& status);

// OpenAI's form: {"error":{"message":...,"type":...,"param":...,"code":...}}.
std::string ErrorBody(const absl::Status& status);
// Anthropic's form: {"type":"error","error":{"type":...,"message":...}}.
std::string MessagesErrorBody(const absl::Status& status);
// OpenAI's form for an error that has an HTTP status only.
std::string ErrorBody(int http_status, absl::string_view message);

}  // namespace facet

#endif  // FACET_ROUTER_API_API_ERROR_H_
