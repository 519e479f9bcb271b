#ifndef FACET_ROUTER_PICKER_EXT_PROC_EXCHANGE_H_
#define FACET_ROUTER_PICKER_EXT_PROC_EXCHANGE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/ext_proc.pb.h"

namespace facet {

// What a gateway asks an endpoint for.
struct EndpointQuestion {
  std::string path;  // Without a query.
  // The exchange's, until Answer. Empty where the gateway sends none before it wants to know.
  absl::string_view body;
  // The endpoints to choose from, as host:port; none given: any.
  std::optional<std::vector<std::string>> subset;
};

// The protocol of one HTTP exchange between a gateway and an endpoint picker: Envoy's external
// processing (proto/ext_proc.proto) as the Gateway API inference extension's proposal 004 uses it.
// Holds a request back until it is known where it goes, and lets everything else pass unchanged.
// A pure state machine: no I/O, no clock. One thread.
//
// When the question is asked depends on how the gateway sends the request's body:
//   full duplex (also where it does not say): when the whole request is there;
//   buffered: when the body is there, the header having passed;
//   else: at the header, without a body, since later it would be too late.
class ExtProcExchange {
 public:
  using Request = envoy::service::ext_proc::v3::ProcessingRequest;
  using Response = envoy::service::ext_proc::v3::ProcessingResponse;

  // A larger body ends the exchange with 413.
  explicit ExtProcExchange(size_t body_bytes_max) : body_bytes_max_(body_bytes_max) {}

  // Takes the gateway's next message; what it is answered is appended to `out`. Gives a question
  // once, to be answered by Answer before anything else goes to the gateway. INVALID_ARGUMENT: the
  // message does not belong here.
  absl::StatusOr<std::optional<EndpointQuestion>> Take(Request message, std::vector<Response>* out);

  // Where the request goes: the best endpoint first, as host:port. Or why nowhere: the client is
  // answered as over HTTP (router/api/api_error.h), with Retry-After where there is one.
  void Answer(const absl::StatusOr<std::vector<std::string>>& endpoints,
              std::vector<Response>* out);

  // The answer to the request has begun, or never will.
  bool answered() const { return answered_; }

 private:
  enum class AskAt { kHeader, kBody, kEnd };

  void ReadConfiguration(const Request& message);
  std::optional<EndpointQuestion> TakeRequestHeaders(const Request& message,
                                                     std::vector<Response>* out);
  std::optional<EndpointQuestion> TakeRequestBody(Request& message, std::vector<Response>* out);
  std::optional<EndpointQuestion> TakeRequestTrailers(std::vector<Response>* out);
  void TakeResponseBody(Request& message, std::vector<Response>* out) const;
  EndpointQuestion Ask();
  void Refuse(const absl::Status& why, std::vector<Response>* out);

  const size_t body_bytes_max_;
  AskAt ask_at_ = AskAt::kEnd;
  bool response_is_echoed_ = false;
  bool silent_ = false;    // Nobody wants answers.
  bool begun_ = false;     // The request's header came.
  bool asked_ = false;     // The question was given.
  bool refused_ = false;   // The exchange has ended.
  bool has_body_ = false;  // The request has one, or trailers.
  bool has_trailers_ = false;
  bool answered_ = false;
  std::string path_, body_;
  std::optional<std::vector<std::string>> subset_;
};

}  // namespace facet

#endif  // FACET_ROUTER_PICKER_EXT_PROC_EXCHANGE_H_
