#include "router/picker/ext_proc_exchange.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

namespace ext_proc = envoy::service::ext_proc::v3;

constexpr char kEndpointKey[] = "x-gateway-destination-endpoint";
constexpr char kEndpointNamespace[] = "envoy.lb";
constexpr char kSubsetKey[] = "x-gateway-destination-endpoint-subset";
constexpr char kSubsetNamespace[] = "envoy.lb.subset_hint";
// Envoy takes no larger messages than its own buffers, of 64 KiB, in full duplex.
constexpr size_t kPieceBytes = 62'000;

void SetHeader(ext_proc::HeaderMutation* mutation, absl::string_view key, absl::string_view value) {
  ext_proc::HeaderValue* header = mutation->add_set_headers()->mutable_header();
  header->set_key(std::string(key));
  header->set_raw_value(std::string(value));
}

absl::string_view HeaderOf(const ext_proc::HeaderMap& headers, absl::string_view key) {
  for (const ext_proc::HeaderValue& header : headers.headers()) {
    if (header.key() == key) return header.value().empty() ? header.raw_value() : header.value();
  }
  return "";
}

// None if the gateway names no subset.
std::optional<std::vector<std::string>> SubsetOf(const ext_proc::Metadata& metadata) {
  const auto hint = metadata.filter_metadata().find(kSubsetNamespace);
  if (hint == metadata.filter_metadata().end()) return std::nullopt;
  const auto field = hint->second.fields().find(kSubsetKey);
  if (field == hint->second.fields().end()) return std::nullopt;
  std::vector<std::string> endpoints;
  for (const ext_proc::Value& value : field->second.list_value().values()) {
    endpoints.push_back(value.string_value());
  }
  return endpoints;
}

// A body in pieces, as full duplex wants it.
template <typename Add>
void AddPieces(absl::string_view body, bool ends, const Add& add) {
  do {
    const absl::string_view piece = body.substr(0, kPieceBytes);
    body.remove_prefix(piece.size());
    ext_proc::StreamedBodyResponse* streamed =
        add()->mutable_response()->mutable_body_mutation()->mutable_streamed_response();
    streamed->set_body(std::string(piece));
    streamed->set_end_of_stream(ends && body.empty());
  } while (!body.empty());
}

}  // namespace

absl::StatusOr<std::optional<EndpointQuestion>> ExtProcExchange::Take(Request message,
                                                                      std::vector<Response>* out) {
  ReadConfiguration(message);
  std::vector<Response> unwanted;
  if (silent_) out = &unwanted;
  if (refused_) return std::nullopt;
  const bool of_request = message.has_request_body() || message.has_request_trailers();
  if (message.has_request_headers() == begun_ || (of_request && asked_ && ask_at_ == AskAt::kEnd)) {
    return absl::InvalidArgumentError(
        "A request begins with one message of its header, and ends before its answer.");
  }
  switch (message.request_case()) {
    case Request::kRequestHeaders:
      return TakeRequestHeaders(message, out);
    case Request::kRequestBody:
      return TakeRequestBody(message, out);
    case Request::kRequestTrailers:
      return TakeRequestTrailers(out);
    case Request::kResponseHeaders:
      answered_ = true;
      out->emplace_back().mutable_response_headers();
      return std::nullopt;
    case Request::kResponseBody:
      TakeResponseBody(message, out);
      return std::nullopt;
    case Request::kResponseTrailers:
      out->emplace_back().mutable_response_trailers();
      return std::nullopt;
    case Request::REQUEST_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("The message holds no part of an HTTP exchange that is known.");
}

void ExtProcExchange::ReadConfiguration(const Request& message) {
  silent_ |= message.observability_mode();
  if (!message.has_protocol_config()) return;
  const ext_proc::BodySendMode mode = message.protocol_config().request_body_mode();
  ask_at_ = mode == ext_proc::FULL_DUPLEX_STREAMED ? AskAt::kEnd
            : mode == ext_proc::BUFFERED           ? AskAt::kBody
                                                   : AskAt::kHeader;
  response_is_echoed_ =
      message.protocol_config().response_body_mode() == ext_proc::FULL_DUPLEX_STREAMED;
}

std::optional<EndpointQuestion> ExtProcExchange::TakeRequestHeaders(const Request& message,
                                                                    std::vector<Response>* out) {
  begun_ = true;
  const absl::string_view path = HeaderOf(message.request_headers().headers(), ":path");
  path_ = std::string(path.substr(0, path.find('?')));
  subset_ = SubsetOf(message.metadata_context());
  has_body_ = !message.request_headers().end_of_stream();
  if (!has_body_ || ask_at_ == AskAt::kHeader) return Ask();
  if (ask_at_ == AskAt::kBody) out->emplace_back().mutable_request_headers();
  return std::nullopt;
}

std::optional<EndpointQuestion> ExtProcExchange::TakeRequestBody(Request& message,
                                                                 std::vector<Response>* out) {
  if (asked_) {
    out->emplace_back().mutable_request_body();
    return std::nullopt;
  }
  ext_proc::HttpBody& piece = *message.mutable_request_body();
  if (body_.size() + piece.body().size() > body_bytes_max_) {
    Refuse(absl::OutOfRangeError(
               absl::StrCat("The request's body is larger than ", body_bytes_max_, " bytes.")),
           out);
    return std::nullopt;
  }
  if (body_.empty()) {
    body_ = std::move(*piece.mutable_body());
  } else {
    body_ += piece.body();
  }
  if (ask_at_ == AskAt::kBody || piece.end_of_stream()) return Ask();
  return std::nullopt;
}

std::optional<EndpointQuestion> ExtProcExchange::TakeRequestTrailers(std::vector<Response>* out) {
  if (ask_at_ == AskAt::kEnd) {
    has_trailers_ = true;
    return Ask();
  }
  out->emplace_back().mutable_request_trailers();
  return std::nullopt;
}

void ExtProcExchange::TakeResponseBody(Request& message, std::vector<Response>* out) const {
  if (!response_is_echoed_) {
    out->emplace_back().mutable_response_body();
    return;
  }
  const ext_proc::HttpBody& piece = message.response_body();
  AddPieces(piece.body(), piece.end_of_stream(),
            [&] { return out->emplace_back().mutable_response_body(); });
}

EndpointQuestion ExtProcExchange::Ask() {
  asked_ = true;
  return {path_, body_, subset_};
}

void ExtProcExchange::Refuse(const absl::Status& why, std::vector<Response>* out) {
  refused_ = answered_ = true;
  const int code = absl::IsOutOfRange(why) ? 413 : HttpStatusOf(why);
  ext_proc::ImmediateResponse* response = out->emplace_back().mutable_immediate_response();
  response->mutable_status()->set_code(code);
  SetHeader(response->mutable_headers(), "content-type", "application/json");
  if (const int seconds = RetryAfterSeconds(why); seconds > 0) {
    SetHeader(response->mutable_headers(), "retry-after", absl::StrCat(seconds));
  }
  response->set_body(code == 413 ? ErrorBody(code, why.message()) : ErrorBody(why));
  response->set_details("facet_endpoint_picker");
}

void ExtProcExchange::Answer(const absl::StatusOr<std::vector<std::string>>& endpoints,
                             std::vector<Response>* out) {
  if (silent_) return;
  if (!endpoints.ok()) return Refuse(endpoints.status(), out);
  const std::string list = absl::StrJoin(*endpoints, ",");
  const bool in_body = ask_at_ == AskAt::kBody && has_body_;
  Response& response = out->emplace_back();
  ext_proc::CommonResponse* common = in_body
                                         ? response.mutable_request_body()->mutable_response()
                                         : response.mutable_request_headers()->mutable_response();
  common->set_clear_route_cache(true);
  SetHeader(common->mutable_header_mutation(), kEndpointKey, list);
  (*(*response.mutable_dynamic_metadata()->mutable_fields())[kEndpointNamespace]
        .mutable_struct_value()
        ->mutable_fields())[kEndpointKey]
      .set_string_value(list);
  if (ask_at_ != AskAt::kEnd || !has_body_) return;
  if (!body_.empty() || !has_trailers_) {
    AddPieces(body_, !has_trailers_, [&] { return out->emplace_back().mutable_request_body(); });
  }
  if (has_trailers_) out->emplace_back().mutable_request_trailers();
  body_.clear();
}

}  // namespace facet
