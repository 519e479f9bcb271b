#include "router/api/api_error.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace facet {
namespace {

constexpr char kParam[] = "facet/param";
constexpr char kCode[] = "facet/code";
constexpr char kRetryAfter[] = "facet/retry_after_s";
constexpr double kRetryAfterSecondsMax = 3600;

std::string Payload(const absl::Status& status, const char* name) {
  const auto payload = status.GetPayload(name);
  return payload.has_value() ? std::string(*payload) : std::string();
}

// OpenAI's `type` says whose fault it is.
const char* TypeOf(int http_status) {
  if (http_status == 401 || http_status == 403) return "authentication_error";
  if (http_status == 429) return "rate_limit_error";
  return http_status < 500 ? "invalid_request_error" : "server_error";
}

// Anthropic's.
const char* MessagesTypeOf(int http_status) {
  switch (http_status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return http_status < 500 ? "invalid_request_error" : "api_error";
  }
}

boost::json::value TextOrNull(absl::string_view text) {
  if (text.empty()) return nullptr;
  return boost::json::string(text.data(), text.size());
}

std::string Body(int http_status, absl::string_view message, absl::string_view param,
                 absl::string_view code) {
  boost::json::object error;
  error["message"] = boost::json::string(message.data(), message.size());
  error["type"] = TypeOf(http_status);
  error["param"] = TextOrNull(param);
  error["code"] = TextOrNull(code);
  return boost::json::serialize(boost::json::object{{"error", std::move(error)}});
}

}  // namespace

absl::Status InvalidParam(absl::string_view param, absl::string_view message,
                          absl::string_view code) {
  return WithParam(absl::InvalidArgumentError(message), param, code);
}

absl::Status WithParam(absl::Status status, absl::string_view param, absl::string_view code) {
  if (!param.empty()) status.SetPayload(kParam, absl::Cord(param));
  if (!code.empty()) status.SetPayload(kCode, absl::Cord(code));
  return status;
}

absl::Status WithRetryAfter(absl::Status status, double seconds) {
  const double bounded = std::clamp(std::ceil(seconds), 1.0, kRetryAfterSecondsMax);
  status.SetPayload(kRetryAfter, absl::Cord(absl::StrCat(static_cast<int>(bounded))));
  return status;
}

std::string ParamOf(const absl::Status& status) { return Payload(status, kParam); }
std::string CodeOf(const absl::Status& status) { return Payload(status, kCode); }

int HttpStatusOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    case absl::StatusCode::kCancelled:
      return 499;  // Nobody reads it: the client is gone.
    default:
      return 500;
  }
}

int RetryAfterSeconds(const absl::Status& status) {
  int seconds = 0;
  if (absl::SimpleAtoi(Payload(status, kRetryAfter), &seconds)) return seconds;
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status) ? 1 : 0;
}

std::string ErrorBody(const absl::Status& status) {
  return Body(HttpStatusOf(status), status.message(), ParamOf(status), CodeOf(status));
}

std::string MessagesErrorBody(const absl::Status& status) {
  boost::json::object error;
  error["type"] = MessagesTypeOf(HttpStatusOf(status));
  error["message"] = TextOrNull(status.message());
  return boost::json::serialize(
      boost::json::object{{"type", "error"}, {"error", std::move(error)}});
}

std::string ErrorBody(int http_status, absl::string_view message) {
  return Body(http_status, message, "", "");
}

}  // namespace facet
