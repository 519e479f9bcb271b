#include "router/http/http_api.h"

#include <atomic>
#include <boost/json.hpp>
#include <ctime>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "model/json.h"
#include "router/api/api_error.h"
#include "router/api/input_items.h"
#include "router/api/json_fields.h"
#include "router/api/messages_request.h"
#include "router/api/model_name.h"
#include "router/api/openai_request.h"
#include "router/api/openai_response.h"
#include "router/api/responses_request.h"
#include "router/api/transcription_request.h"
#include "router/api/transcription_response.h"
#include "router/http/debug_endpoints.h"
#include "router/http/text_endpoints.h"
#include "router/text/prompt_builder.h"

namespace facet {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

absl::Status NotReady() { return absl::UnavailableError("No worker is ready; try again later."); }

// `adapter` may be empty. An adapter names the model that it belongs to, as vLLM has it.
json::object ModelEntry(const ServedModel& model, absl::string_view adapter) {
  json::object entry{{"id", JsonText(NameWithAdapter(model, adapter))},
                     {"object", "model"},
                     {"created", model.created_s},
                     {"owned_by", "facet"},
                     {"parent", nullptr},
                     {"max_model_len", model.context_tokens_max}};
  if (!adapter.empty()) entry["parent"] = JsonText(model.name);
  return entry;
}

absl::StatusOr<ApiCall> OpenAiCall(absl::StatusOr<GenerationRequest> request, bool chat) {
  RETURN_IF_ERROR(request.status());
  ApiCall call;
  call.request = *std::move(request);
  call.make_form = [chat](const Generation& generation) {
    return MakeOpenAiForm(generation, chat, std::time(nullptr));
  };
  return call;
}

absl::StatusOr<ApiCall> TranscriptionCall(const HttpRequest& request) {
  ASSIGN_OR_RETURN(TranscriptionRequest parsed,
                   ParseTranscriptionRequest(request.content_type, request.body));
  ApiCall call;
  call.request = std::move(parsed.generation);
  call.names.Add("messages", "prompt");
  call.make_form = [format = parsed.format,
                    language = parsed.language](const Generation& generation) {
    return MakeTranscriptionForm(generation, format, language);
  };
  return call;
}

absl::StatusOr<json::value> ListModels(const WorkerPool& pool) {
  json::array data;
  if (const auto model = pool.model(); model != nullptr) {
    data.push_back(ModelEntry(*model, /*adapter=*/""));
    for (const std::string& name : pool.HeldAdapters()) data.push_back(ModelEntry(*model, name));
  }
  return json::object{{"object", "list"}, {"data", std::move(data)}};
}

absl::StatusOr<json::value> GetModel(const WorkerPool& pool, const std::string& name) {
  ASSIGN_OR_RETURN(const auto model, pool.FindModel(name));
  ASSIGN_OR_RETURN(const std::string adapter, AdapterOfModelName(*model, name));
  return ModelEntry(*model, adapter);
}

absl::StatusOr<json::object> StoredResponse(const ResponseStore& store, const std::string& id) {
  ASSIGN_OR_RETURN(const std::string text, store.Get(id));
  ASSIGN_OR_RETURN(json::value stored, ParseJson(text, "the stored response"));
  if (!stored.is_object()) return absl::InternalError("The stored response cannot be read.");
  return std::move(stored.get_object());
}

absl::StatusOr<json::value> GetResponse(const ResponseStore& store, const std::string& id) {
  ASSIGN_OR_RETURN(const json::object stored, StoredResponse(store, id));
  const json::value* response = stored.if_contains("response");
  if (response == nullptr) return absl::InternalError("The stored response cannot be read.");
  return *response;
}

absl::StatusOr<json::value> GetInputItems(const ResponseStore& store, const std::string& id,
                                          absl::string_view query) {
  ASSIGN_OR_RETURN(const json::object stored, StoredResponse(store, id));
  return ListInputItems(id, stored, query);
}

absl::StatusOr<json::value> DeleteResponse(ResponseStore& store, const std::string& id) {
  RETURN_IF_ERROR(store.Remove(id));
  return json::object{{"id", JsonText(id)}, {"object", "response"}, {"deleted", true}};
}

// Those for whom it is all one whose the request is.
template <auto kBuild>
asio::awaitable<absl::StatusOr<json::value>> BuildFor(const WorkerPool& pool, MediaLoader& loader,
                                                      const std::string& body,
                                                      const TenantRequest& tenant,
                                                      ClientLeft client_left) {
  return kBuild(pool, loader, body, std::move(client_left));
}

// What stands for the {placeholder} of `pattern` in a path that fits it; "" if it has none. A
// model's name may hold slashes.
std::optional<std::string> MatchPath(absl::string_view pattern, absl::string_view path) {
  const size_t begin = pattern.find('{');
  if (begin == pattern.npos) return path == pattern ? std::optional("") : std::nullopt;
  const size_t end = pattern.find('}') + 1;
  if (!absl::ConsumePrefix(&path, pattern.substr(0, begin)) ||
      !absl::ConsumeSuffix(&path, pattern.substr(end)) || path.empty()) {
    return std::nullopt;
  }
  const bool one_part = pattern.substr(begin, end - begin) != "{model}";
  if (one_part && absl::StrContains(path, '/')) return std::nullopt;
  return std::string(path);
}

}  // namespace

// A route has one of `parse`, `answer`, `build`, `change` and `text`. `path` is written as in the
// API's document; `answer` gets what stands for its {placeholder}. `build` waits for the media of a
// prompt, `change` for workers.
struct HttpApi::Route {
  using Parse = absl::StatusOr<ApiCall> (*)(const HttpRequest& request, ResponseStore& store);
  using Answer = absl::StatusOr<json::value> (*)(HttpApi& api, const HttpRequest& request,
                                                 const std::string& rest);
  using Build = asio::awaitable<absl::StatusOr<json::value>> (*)(const WorkerPool& pool,
                                                                 MediaLoader& loader,
                                                                 const std::string& body,
                                                                 const TenantRequest& tenant,
                                                                 ClientLeft client_left);
  // Answers with a sentence.
  using Change = asio::awaitable<absl::StatusOr<std::string>> (*)(const HttpApi& api,
                                                                  const std::string& body);
  absl::string_view method;
  absl::string_view path;
  const char* endpoint = nullptr;  // The label in metrics, of those that generate.
  Parse parse = nullptr;
  Answer answer = nullptr;
  Build build = nullptr;
  Change change = nullptr;
  HttpResponse (*text)(HttpApi& api) = nullptr;
  ErrorBodyFunction error_body = &ErrorBody;
  bool open = false;  // Asks for no API key: probes, Prometheus, the API's description.

  // Costs the router, or workers, so much that it counts against its tenant's limits.
  bool counts() const { return parse != nullptr || build != nullptr; }
};

const HttpApi::Route HttpApi::kRoutes[] = {
    {.method = "POST",
     .path = "/v1/chat/completions",
     .endpoint = "chat",
     .parse =
         [](const HttpRequest& request, ResponseStore&) {
           return OpenAiCall(ParseChatRequest(request.body), /*chat=*/true);
         }},
    {.method = "POST",
     .path = "/v1/completions",
     .endpoint = "completions",
     .parse =
         [](const HttpRequest& request, ResponseStore&) {
           return OpenAiCall(ParseCompletionRequest(request.body), /*chat=*/false);
         }},
    {.method = "POST",
     .path = "/v1/audio/transcriptions",
     .endpoint = "transcriptions",
     .parse = [](const HttpRequest& request,
                 ResponseStore&) { return TranscriptionCall(request); }},
    {.method = "POST",
     .path = "/v1/responses",
     .endpoint = "responses",
     .parse = [](const HttpRequest& request,
                 ResponseStore& store) { return ParseResponsesCall(request.body, store); }},
    {.method = "GET",
     .path = "/v1/responses/{response_id}",
     .answer = [](HttpApi& api, const HttpRequest&,
                  const std::string& id) { return GetResponse(api.responses_, id); }},
    {.method = "GET",
     .path = "/v1/responses/{response_id}/input_items",
     .answer =
         [](HttpApi& api, const HttpRequest& request, const std::string& id) {
           return GetInputItems(api.responses_, id, request.query);
         }},
    {.method = "DELETE",
     .path = "/v1/responses/{response_id}",
     .answer = [](HttpApi& api, const HttpRequest&,
                  const std::string& id) { return DeleteResponse(api.responses_, id); }},
    {.method = "POST",
     .path = "/v1/messages",
     .endpoint = "messages",
     .parse = [](const HttpRequest& request,
                 ResponseStore&) { return ParseMessagesCall(request.body); },
     .error_body = &MessagesErrorBody},
    {.method = "POST",
     .path = "/v1/messages/count_tokens",
     .build = &BuildFor<&CountTokens>,
     .error_body = &MessagesErrorBody},
    {.method = "GET",
     .path = "/v1/models",
     .answer = [](HttpApi& api, const HttpRequest&,
                  const std::string&) { return ListModels(api.pool_); }},
    {.method = "GET",
     .path = "/v1/models/{model}",
     .answer = [](HttpApi& api, const HttpRequest&,
                  const std::string& name) { return GetModel(api.pool_, name); }},
    {.method = "POST",
     .path = "/v1/load_lora_adapter",
     .change = [](const HttpApi& api,
                  const std::string& body) { return api.adapters_.Load(body); }},
    {.method = "POST",
     .path = "/v1/unload_lora_adapter",
     .change = [](const HttpApi& api,
                  const std::string& body) { return api.adapters_.Unload(body); }},
    {.method = "POST", .path = "/tokenize", .build = &BuildFor<&Tokenize>},
    {.method = "POST",
     .path = "/detokenize",
     .answer = [](HttpApi& api, const HttpRequest& request,
                  const std::string&) { return Detokenize(api.pool_, request.body); }},
    {.method = "GET",
     .path = "/tokenizer_info",
     .answer = [](HttpApi& api, const HttpRequest&,
                  const std::string&) { return TokenizerInfo(api.pool_); }},
    {.method = "GET",
     .path = "/debug/workers",
     .answer = [](HttpApi& api, const HttpRequest&, const std::string&)
         -> absl::StatusOr<json::value> { return DescribeWorkers(api.pool_); }},
    {.method = "POST", .path = "/debug/placement", .build = &ExplainPlacement},
    {.method = "GET",
     .path = "/debug/queue",
     .answer = [](HttpApi& api, const HttpRequest&, const std::string&)
         -> absl::StatusOr<json::value> { return api.pool_.line().Describe(); }},
    {.method = "GET",
     .path = "/health",
     .answer = [](HttpApi&, const HttpRequest&, const std::string&) -> absl::StatusOr<json::value> {
       return json::object{{"status", "ok"}};
     },
     .open = true},
    {.method = "GET",
     .path = "/readiness",
     .answer = [](HttpApi& api, const HttpRequest&,
                  const std::string&) -> absl::StatusOr<json::value> {
       if (!api.pool_.ready()) return NotReady();
       return json::object{{"status", "ready"}};
     },
     .open = true},
    {.method = "GET",
     .path = "/metrics",
     .text =
         [](HttpApi& api) {
           return HttpResponse{.content_type = kMetricsContentType, .body = api.MetricsText()};
         },
     .open = true},
    {.method = "GET",
     .path = "/openapi.json",
     .text = [](HttpApi&) { return HttpResponse{.body = std::string(OpenApiDocument())}; },
     .open = true},
};

std::vector<std::pair<std::string, std::string>> HttpApi::Routes() {
  std::vector<std::pair<std::string, std::string>> routes;
  for (const Route& route : kRoutes) routes.emplace_back(route.method, route.path);
  return routes;
}

std::string HttpApi::MetricsText() {
  ReplicasWanted::Load load;
  load.answers = static_cast<int64_t>(pool_.line().waiting());
  int64_t rows = 0, workers = 0;
  const auto members = pool_.members();
  for (const WorkerSnapshot& worker : SnapshotsOf(*members)) {
    load.answers += worker.in_flight;
    if (worker.running_max == 0) continue;
    rows += worker.running_max;
    ++workers;
  }
  if (workers > 0) load.rows_each = rows / workers;
  {
    absl::MutexLock lock(&mutex_);
    metrics_.replicas_wanted.Set(replicas_wanted_.Update(SteadyNowS(), load));
  }
  return metrics_.registry.Text();
}

void HttpApi::LogUnknownFields(const HttpRequest& request) {
  if (!IsLogged(LogLevel::kDebug)) return;
  for (const std::string& field : known_fields_.TakeUnknown(request.path, request.body)) {
    Log(LogLevel::kDebug, "unknown field ignored", {{"path", request.path}, {"field", field}});
  }
}

absl::StatusOr<std::shared_ptr<TenantRequest>> HttpApi::Admit(const Route& route,
                                                              const HttpRequest& request) {
  if (route.open) return nullptr;
  ASSIGN_OR_RETURN(std::shared_ptr<Tenant> tenant, tenants_.Find(request.api_key));
  if (!route.counts()) return nullptr;
  return TenantRequest::Begin(std::move(tenant));
}

asio::awaitable<void> HttpApi::Handle(const HttpRequest& request, ResponseWriter& writer) {
  std::vector<absl::string_view> methods;
  for (const Route& route : kRoutes) {
    const std::optional<std::string> rest = MatchPath(route.path, request.path);
    if (!rest.has_value()) continue;
    methods.push_back(route.method);
    if (route.method != request.method) continue;
    // Before the body is looked at: what is refused is to cost little.
    absl::StatusOr<std::shared_ptr<TenantRequest>> tenant = Admit(route, request);
    if (!tenant.ok()) {
      if (route.endpoint != nullptr) {
        Generation::CountRefused(metrics_, route.endpoint, tenant.status());
      }
      co_return co_await writer.Send(ErrorResponse(tenant.status(), route.error_body));
    }
    LogUnknownFields(request);
    if (route.parse != nullptr) {
      co_return co_await generate_.Answer(request, *std::move(tenant),
                                          route.parse(request, responses_), route.endpoint,
                                          route.error_body, writer);
    }
    if (route.text != nullptr) co_return co_await writer.Send(route.text(*this));
    if (route.change != nullptr) {
      absl::StatusOr<std::string> said = co_await route.change(*this, request.body);
      if (!said.ok()) {
        co_return co_await writer.Send(ErrorResponse(said.status(), route.error_body));
      }
      HttpResponse response{.content_type = "text/plain; charset=utf-8", .body = *std::move(said)};
      co_return co_await writer.Send(std::move(response));
    }
    absl::StatusOr<json::value> answer = json::value();
    if (route.build != nullptr) {
      answer = co_await route.build(pool_, loader_, request.body, **tenant, WatchClient(writer));
    } else {
      answer = route.answer(*this, request, *rest);
    }
    writer.OnDisconnect(nullptr);
    if (!answer.ok()) {
      co_return co_await writer.Send(ErrorResponse(answer.status(), route.error_body));
    }
    HttpResponse response;
    response.body = json::serialize(*answer);
    co_return co_await writer.Send(std::move(response));
  }
  if (methods.empty()) {
    co_return co_await writer.Send(ErrorResponse(
        absl::NotFoundError(absl::StrCat("There is no ", request.method, " ", request.path, ".")),
        &ErrorBody));
  }
  HttpResponse response;
  response.status = 405;
  response.body = ErrorBody(
      405, absl::StrCat("Use ", absl::StrJoin(methods, " or "), " for ", request.path, "."));
  response.headers.emplace_back("Allow", absl::StrJoin(methods, ", "));
  co_await writer.Send(std::move(response));
}

}  // namespace facet
