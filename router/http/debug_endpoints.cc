#include "router/http/debug_endpoints.h"

#include <boost/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "router/api/json_fields.h"
#include "router/api/openai_request.h"
#include "router/picker/first_choice.h"

namespace facet {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

// As a text, since JSON's numbers hold 53 bits.
std::string Hex(uint64_t number) { return absl::StrFormat("%016x", number); }

json::array KnownFrom(const WorkerOrigins& origins) {
  json::array from;
  if (origins.listed) from.push_back("list");
  if (origins.resolved) from.push_back("dns");
  if (origins.registered) from.push_back("registered");
  return from;
}

json::object WorkerEntry(const WorkerOrigins& origins, const WorkerSnapshot& worker) {
  return {{"worker", JsonText(worker.address)},
          {"known_from", KnownFrom(origins)},
          {"ready", worker.ready},
          {"draining", worker.draining},
          {"numerics_class", Hex(worker.numerics_class)},
          {"requests_max", worker.capacity},
          {"running_requests", worker.running},
          {"waiting_requests", worker.waiting},
          {"requests_of_this_router", worker.in_flight},
          {"prefill_tokens_waiting", worker.prefill_tokens_waiting},
          {"prefill_tokens_per_s", worker.prefill_tokens_per_s},
          {"peer_bytes_per_s", worker.peer_bytes_per_s},
          {"decode_step_s", worker.decode_step_s},
          {"decode_row_s", worker.decode_row_s}};
}

absl::StatusOr<GenerationRequest> ParseEither(const std::string& body) {
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(body));
  return object.contains("messages") ? ParseChatRequest(body) : ParseCompletionRequest(body);
}

json::value Explain(const WorkerPool& pool, const BuiltChoice& choice) {
  const std::shared_ptr<const Fleet::Members> members = pool.members();
  const auto [wish, snapshots] = pool.SituationOf(choice.request, choice.page_keys, *members);
  const std::vector<PlacementEstimate> estimates = EstimateAll(snapshots, wish);
  const absl::StatusOr<Placement> placement = Place(snapshots, wish);
  json::array workers;
  for (size_t i = 0; i < snapshots.size(); ++i) {
    const PlacementEstimate& estimate = estimates[i];
    json::object entry = WorkerEntry((*members)[i].origins, snapshots[i]);
    entry["cached_tokens"] = snapshots[i].cached_tokens;
    if (estimate.source >= 0) {
      entry["pulled_tokens"] = estimate.pulled_tokens;
      entry["pulled_from"] = JsonText(estimate.source_address);
      entry["pull_s"] = estimate.pull_s;
    }
    entry["computed_tokens"] = estimate.computed_tokens;
    entry["queued_tokens"] = estimate.queued_tokens;
    entry["first_token_s"] = estimate.first_token_s;
    entry["cost_s"] = estimate.cost_s;
    workers.push_back(std::move(entry));
  }
  json::object answer{{"prompt_tokens", choice.request.prompt_tokens_size()},
                      {"prompt_pages", choice.page_keys->size()},
                      {"chosen", nullptr},
                      {"reason", nullptr},
                      {"workers", std::move(workers)}};
  if (placement.ok()) {
    answer["chosen"] = JsonText(snapshots[placement->worker].address);
  } else {
    answer["reason"] = JsonText(placement.status().message());
  }
  return answer;
}

}  // namespace

json::value DescribeWorkers(const WorkerPool& pool) {
  json::array workers;
  const std::shared_ptr<const Fleet::Members> members = pool.members();
  for (const Fleet::Member& member : *members) {
    workers.push_back(WorkerEntry(member.origins, member.client->Snapshot()));
  }
  return json::object{{"cached_pages", pool.cached_page_count()}, {"workers", std::move(workers)}};
}

asio::awaitable<absl::StatusOr<json::value>> ExplainPlacement(const WorkerPool& pool,
                                                              MediaLoader& loader,
                                                              const std::string& body,
                                                              const TenantRequest& tenant,
                                                              ClientLeft client_left) {
  absl::StatusOr<GenerationRequest> request = ParseEither(body);
  if (request.ok()) request->cache_salt = tenant.cache_salt();
  const absl::StatusOr<BuiltChoice> choice =
      co_await BuildFirstChoice(pool, loader, std::move(request), std::move(client_left));
  if (!choice.ok()) co_return choice.status();
  co_return Explain(pool, *choice);
}

}  // namespace facet
