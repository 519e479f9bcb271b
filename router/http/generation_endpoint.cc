#include "router/http/generation_endpoint.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "router/api/api_error.h"
#include "router/generation.h"

namespace facet {
namespace {

namespace asio = boost::asio;

// What an operator would act on; a client's own mistakes are in the metrics.
void LogFailure(const std::string& request_id, const absl::Status& status) {
  if (!absl::IsInternal(status) && !absl::IsUnavailable(status)) return;
  LogWarning("request failed",
             {{"request_id", request_id}, {"reason", absl::string_view(status.message())}});
}

}  // namespace

HttpResponse ErrorResponse(const absl::Status& status, ErrorBodyFunction error_body,
                           const TenantRequest* tenant) {
  HttpResponse response;
  response.status = HttpStatusOf(status);
  response.body = error_body(status);
  if (const int seconds = RetryAfterSeconds(status); seconds > 0) {
    response.headers.emplace_back("Retry-After", absl::StrCat(seconds));
  }
  if (absl::IsUnauthenticated(status)) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (tenant != nullptr) {
    for (auto& header : tenant->RateLimitHeaders()) response.headers.push_back(std::move(header));
  }
  return response;
}

ClientLeft WatchClient(ResponseWriter& writer) {
  const auto left = std::make_shared<std::atomic<bool>>(writer.disconnected());
  writer.OnDisconnect([left] { *left = true; });
  return left;
}

asio::awaitable<void> GenerationEndpoint::Answer(const HttpRequest& request,
                                                 std::shared_ptr<TenantRequest> tenant,
                                                 absl::StatusOr<ApiCall> call, const char* endpoint,
                                                 ErrorBodyFunction error_body,
                                                 ResponseWriter& writer) const {
  if (call.ok()) {
    const absl::Status loaded =
        co_await loader.Load(call->request, pool.model(), WatchClient(writer));
    writer.OnDisconnect(nullptr);
    if (!loaded.ok()) call = call->names.Rename(loaded);
  }
  if (!call.ok()) {
    Generation::CountRefused(metrics, endpoint, call.status());
    co_return co_await writer.Send(ErrorResponse(call.status(), error_body, tenant.get()));
  }
  call->request.request_id = request.request_id;
  call->request.tenant = tenant;
  absl::StatusOr<std::unique_ptr<Generation>> generation =
      Generation::Start(pool, metrics, std::move(call->request), writer.executor());
  if (!generation.ok()) {
    co_return co_await writer.Send(
        ErrorResponse(call->names.Rename(generation.status()), error_body, tenant.get()));
  }
  writer.OnDisconnect([&generation = **generation] { generation.Abandon(); });
  if (writer.disconnected()) (*generation)->Abandon();
  const std::unique_ptr<AnswerForm> form = call->make_form(**generation);
  if ((*generation)->request().stream) {
    co_await Stream(**generation, *form, error_body, writer);
  } else {
    co_await Whole(**generation, *form, error_body, writer);
  }
  writer.OnDisconnect(nullptr);
}

HttpHeaders GenerationEndpoint::HeadersOf(const Generation& generation) const {
  HttpHeaders headers = generation.tenant().RateLimitHeaders();
  // Of several answers the first may be in the line still.
  if (placement_headers && !generation.worker().empty()) {
    headers.emplace_back("x-facet-worker", generation.worker());
    headers.emplace_back("x-facet-placement", generation.placement());
  }
  return headers;
}

// Until the first event the status line is not sent, so an error that comes before it is still a
// proper one; for that, no comment is sent while a request waits in the line.
asio::awaitable<void> GenerationEndpoint::Stream(Generation& generation, AnswerForm& form,
                                                 ErrorBodyFunction error_body,
                                                 ResponseWriter& writer) const {
  using Clock = std::chrono::steady_clock;
  const auto keep_alive = std::chrono::milliseconds(keep_alive_ms);
  Clock::time_point last_written = Clock::now();
  while (!generation.abandoned()) {
    const auto deltas = generation.Take();
    std::string events;
    if (!deltas.ok()) {
      LogFailure(generation.request().request_id, deltas.status());
      if (!writer.started()) {
        co_return co_await writer.Send(
            ErrorResponse(deltas.status(), error_body, &generation.tenant()));
      }
      events = form.ErrorEvents(deltas.status());
    } else {
      events = form.Events(*deltas);
      if (generation.done()) events += form.LastEvents();
      if (events.empty() && generation.placed() && Clock::now() - last_written >= keep_alive) {
        events = std::string(kKeepAlive);
      }
    }
    if (!events.empty()) {
      if (!writer.started()) writer.StartEvents(HeadersOf(generation));
      co_await writer.WriteEvents(std::move(events));
      last_written = Clock::now();
    }
    if (!deltas.ok() || generation.done()) co_return co_await writer.FinishEvents();
    co_await generation.Wait(keep_alive_ms);
  }
}

asio::awaitable<void> GenerationEndpoint::Whole(Generation& generation, AnswerForm& form,
                                                ErrorBodyFunction error_body,
                                                ResponseWriter& writer) const {
  while (!generation.abandoned()) {
    auto deltas = generation.Take();
    if (!deltas.ok()) {
      LogFailure(generation.request().request_id, deltas.status());
      co_return co_await writer.Send(
          ErrorResponse(deltas.status(), error_body, &generation.tenant()));
    }
    form.Collect(*std::move(deltas));
    if (generation.done()) {
      HttpResponse answer;
      answer.content_type = form.ContentType();
      answer.body = form.Whole();
      answer.headers = HeadersOf(generation);
      co_return co_await writer.Send(std::move(answer));
    }
    co_await generation.Wait(keep_alive_ms);
  }
}

}  // namespace facet
