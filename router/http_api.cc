#include "router/http_api.h"

#include <atomic>
#include <boost/json.hpp>
#include <chrono>
#include <ctime>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "model/detokenizer.h"
#include "router/api_error.h"
#include "router/generation.h"
#include "router/openai_request.h"
#include "router/openai_response.h"
#include "router/prompt_builder.h"

namespace facet {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

HttpResponse ErrorResponse(const absl::Status& status) {
  HttpResponse response;
  response.status = HttpStatusOf(status);
  response.body = ErrorBody(status);
  if (const int seconds = RetryAfterSeconds(status); seconds > 0) {
    response.headers.emplace_back("Retry-After", absl::StrCat(seconds));
  }
  return response;
}

HttpResponse JsonResponse(const json::value& value) {
  HttpResponse response;
  response.body = json::serialize(value);
  return response;
}

json::string Text(absl::string_view text) { return json::string(text.data(), text.size()); }

absl::Status NotReady() { return absl::UnavailableError("No worker is ready; try again later."); }

// What an operator would act on; a client's own mistakes are in the metrics.
void LogFailure(const std::string& request_id, const absl::Status& status) {
  if (!absl::IsInternal(status) && !absl::IsUnavailable(status)) return;
  LogWarning("request failed",
             {{"request_id", request_id}, {"reason", absl::string_view(status.message())}});
}

}  // namespace

asio::awaitable<void> HttpApi::Handle(const HttpRequest& request, ResponseWriter& writer) {
  using Answer = HttpResponse (HttpApi::*)(const HttpRequest&) const;
  struct Route {
    absl::string_view method;
    absl::string_view path;
    Answer answer;  // Null: one that waits.
  };
  static constexpr Route kRoutes[] = {
      {"POST", "/v1/chat/completions", nullptr},     {"POST", "/v1/completions", nullptr},
      {"GET", "/v1/models", &HttpApi::Models},       {"POST", "/tokenize", nullptr},
      {"POST", "/detokenize", &HttpApi::Detokenize}, {"GET", "/health", &HttpApi::Health},
      {"GET", "/readiness", &HttpApi::Readiness},    {"GET", "/metrics", &HttpApi::Metrics},
  };
  // A client may ask for one model by its name, which may hold slashes.
  absl::string_view path = request.path;
  if (absl::StartsWith(path, "/v1/models/")) path = "/v1/models";
  for (const Route& route : kRoutes) {
    if (route.path != path) continue;
    if (route.method != request.method) {
      HttpResponse response;
      response.status = 405;
      response.body = ErrorBody(405, absl::StrCat("Use ", route.method, " for ", path, "."));
      response.headers.emplace_back("Allow", std::string(route.method));
      co_await writer.Send(std::move(response));
    } else if (route.answer != nullptr) {
      co_await writer.Send((this->*route.answer)(request));
    } else if (path == "/tokenize") {
      co_await Tokenize(request, writer);
    } else {
      co_await Generate(request, writer, /*chat=*/path == "/v1/chat/completions");
    }
    co_return;
  }
  co_await writer.Send(ErrorResponse(
      absl::NotFoundError(absl::StrCat("There is no ", request.method, " ", request.path, "."))));
}

asio::awaitable<absl::Status> HttpApi::LoadMedia(GenerationRequest& request,
                                                 ResponseWriter& writer) {
  const auto client_left = std::make_shared<std::atomic<bool>>(writer.disconnected());
  writer.OnDisconnect([client_left] { *client_left = true; });
  const absl::Status status = co_await loader_.Load(request, pool_.model(), client_left);
  writer.OnDisconnect(nullptr);
  co_return status;
}

asio::awaitable<void> HttpApi::Generate(const HttpRequest& request, ResponseWriter& writer,
                                        bool chat) {
  absl::StatusOr<GenerationRequest> parsed =
      chat ? ParseChatRequest(request.body) : ParseCompletionRequest(request.body);
  if (parsed.ok()) {
    const absl::Status loaded = co_await LoadMedia(*parsed, writer);
    if (!loaded.ok()) parsed = loaded;
  }
  if (!parsed.ok()) {
    Generation::CountRefused(metrics_, chat ? "chat" : "completions", parsed.status());
    co_return co_await writer.Send(ErrorResponse(parsed.status()));
  }
  parsed->request_id = request.request_id;
  absl::StatusOr<std::unique_ptr<Generation>> generation =
      Generation::Start(pool_, metrics_, *std::move(parsed), writer.executor());
  if (!generation.ok()) co_return co_await writer.Send(ErrorResponse(generation.status()));

  writer.OnDisconnect([&generation = **generation] { generation.Abandon(); });
  if (writer.disconnected()) (*generation)->Abandon();
  if ((*generation)->request().stream) {
    co_await Stream(**generation, writer, chat);
  } else {
    co_await Whole(**generation, writer, chat);
  }
  writer.OnDisconnect(nullptr);
}

// Until the first event the status line is not sent, so an error that comes before it is still a
// proper one.
asio::awaitable<void> HttpApi::Stream(Generation& generation, ResponseWriter& writer, bool chat) {
  using Clock = std::chrono::steady_clock;
  const auto keep_alive = std::chrono::milliseconds(options_.keep_alive_ms);
  OpenAiResponse response(generation, chat, std::time(nullptr));
  Clock::time_point last_written = Clock::now();
  while (!generation.abandoned()) {
    const auto deltas = generation.Take();
    std::string events;
    if (!deltas.ok()) {
      LogFailure(generation.request().request_id, deltas.status());
      if (!writer.started()) co_return co_await writer.Send(ErrorResponse(deltas.status()));
      events = EventText(ErrorBody(deltas.status()));
    } else {
      events = response.Events(*deltas);
      if (generation.done()) events += response.LastEvents();
      if (events.empty() && Clock::now() - last_written >= keep_alive) {
        events = std::string(kKeepAlive);
      }
    }
    if (!events.empty()) {
      if (!writer.started()) writer.StartEvents();
      co_await writer.WriteEvents(std::move(events));
      last_written = Clock::now();
    }
    if (!deltas.ok() || generation.done()) co_return co_await writer.FinishEvents();
    co_await generation.Wait(options_.keep_alive_ms);
  }
}

asio::awaitable<void> HttpApi::Whole(Generation& generation, ResponseWriter& writer, bool chat) {
  OpenAiResponse response(generation, chat, std::time(nullptr));
  while (!generation.abandoned()) {
    auto deltas = generation.Take();
    if (!deltas.ok()) {
      LogFailure(generation.request().request_id, deltas.status());
      co_return co_await writer.Send(ErrorResponse(deltas.status()));
    }
    response.Collect(*std::move(deltas));
    if (generation.done()) {
      HttpResponse answer;
      answer.body = response.Whole();
      co_return co_await writer.Send(std::move(answer));
    }
    co_await generation.Wait(options_.keep_alive_ms);
  }
}

HttpResponse HttpApi::Health(const HttpRequest&) const {
  return JsonResponse(json::object{{"status", "ok"}});
}

HttpResponse HttpApi::Readiness(const HttpRequest&) const {
  if (!pool_.ready()) return ErrorResponse(NotReady());
  return JsonResponse(json::object{{"status", "ready"}});
}

HttpResponse HttpApi::Metrics(const HttpRequest&) const {
  HttpResponse response;
  response.content_type = kMetricsContentType;
  response.body = metrics_.registry.Text();
  return response;
}

HttpResponse HttpApi::Models(const HttpRequest& request) const {
  const std::shared_ptr<const ServedModel> model = pool_.model();
  const absl::string_view path = request.path;
  const bool one = path.size() > absl::string_view("/v1/models/").size();
  if (model == nullptr) {
    if (one) return ErrorResponse(NotReady());
    return JsonResponse(json::object{{"object", "list"}, {"data", json::array()}});
  }
  json::object entry{{"id", Text(model->name)},
                     {"object", "model"},
                     {"created", model->created_s},
                     {"owned_by", "facet"},
                     {"max_model_len", model->context_tokens_max}};
  if (one) {
    const absl::Status known =
        CheckModelName(*model, std::string(path.substr(absl::string_view("/v1/models/").size())));
    return known.ok() ? JsonResponse(std::move(entry)) : ErrorResponse(known);
  }
  return JsonResponse(json::object{{"object", "list"}, {"data", json::array{std::move(entry)}}});
}

asio::awaitable<void> HttpApi::Tokenize(const HttpRequest& request, ResponseWriter& writer) {
  absl::StatusOr<TokenizeRequest> parsed = ParseTokenizeRequest(request.body);
  const std::shared_ptr<const ServedModel> model = pool_.model();
  absl::Status status = parsed.status();
  if (status.ok() && model == nullptr) status = NotReady();
  if (status.ok()) status = CheckModelName(*model, parsed->chat.model);
  if (status.ok()) status = co_await LoadMedia(parsed->chat, writer);
  if (!status.ok()) co_return co_await writer.Send(ErrorResponse(status));
  const absl::StatusOr<BuiltPrompt> prompt = BuildPrompt(
      *model, parsed->chat.prompts[0], parsed->chat.loaded_media.get(), parsed->add_special_tokens);
  if (!prompt.ok()) co_return co_await writer.Send(ErrorResponse(prompt.status()));
  json::object answer{{"count", prompt->tokens.size()},
                      {"max_model_len", model->context_tokens_max},
                      {"tokens", json::array(prompt->tokens.begin(), prompt->tokens.end())},
                      {"token_strs", nullptr}};
  if (parsed->return_token_strs) {
    json::array pieces;
    for (const int id : prompt->tokens) pieces.push_back(Text(model->vocabulary->piece(id)));
    answer["token_strs"] = std::move(pieces);
  }
  co_await writer.Send(JsonResponse(std::move(answer)));
}

HttpResponse HttpApi::Detokenize(const HttpRequest& request) const {
  const absl::StatusOr<DetokenizeRequest> parsed = ParseDetokenizeRequest(request.body);
  if (!parsed.ok()) return ErrorResponse(parsed.status());
  const std::shared_ptr<const ServedModel> model = pool_.model();
  if (model == nullptr) return ErrorResponse(NotReady());
  if (const auto known = CheckModelName(*model, parsed->model); !known.ok()) {
    return ErrorResponse(known);
  }
  Detokenizer detokenizer(model->vocabulary, /*skip_special=*/false);
  std::string text;
  for (const int id : parsed->tokens) {
    if (id >= model->vocabulary->size()) {
      return ErrorResponse(InvalidParam(
          "tokens", absl::StrCat("`tokens` has the token id ", id, ", but the model has ids below ",
                                 model->vocabulary->size(), ".")));
    }
    text += detokenizer.Add(id);
  }
  text += detokenizer.Finish();
  return JsonResponse(json::object{{"prompt", Text(text)}});
}

}  // namespace facet
