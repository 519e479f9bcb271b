#include "router/http/adapter_endpoints.h"

#include <atomic>
#include <boost/asio/this_coro.hpp>
#include <boost/json.hpp>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/adapter_folder.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/cluster/wake.h"

namespace facet {
namespace {

namespace asio = boost::asio;

// Workers end their calls earlier; whatever ends wakes.
constexpr int kWaitMs = 60'000;
// What workers hold is heard of within some 20 ms after they have said that it is done.
constexpr int kReportPollMs = 5;
constexpr int kReportPolls = 1000;

struct AdapterBody {
  std::string name;
  std::string path;
};

absl::Status CheckAllowed(bool allowed) {
  if (allowed) return absl::OkStatus();
  return absl::PermissionDeniedError(
      "Adapters may not be loaded or unloaded here: the router was started without "
      "--allow_adapter_loading.");
}

absl::StatusOr<AdapterBody> Parse(const std::string& body, bool with_path) {
  ASSIGN_OR_RETURN(const boost::json::object object, ParseJsonObject(body));
  const JsonFields fields(object, "");
  AdapterBody parsed;
  RETURN_IF_ERROR(fields.RequiredString("lora_name", &parsed.name));
  if (absl::Status status = CheckAdapterName(parsed.name); !status.ok()) {
    return InvalidParam("lora_name", absl::StrCat("`lora_name`: ", status.message(), "."));
  }
  if (!with_path) return parsed;
  RETURN_IF_ERROR(fields.RequiredString("lora_path", &parsed.path));
  if (parsed.path.empty() || parsed.path.find('\0') != parsed.path.npos) {
    return InvalidParam("lora_path", "`lora_path` is no path.");
  }
  return parsed;
}

// One question to several workers. Shared by the coroutine and the calls.
struct Answers {
  explicit Answers(size_t count) : statuses(count), left(count) {}
  std::vector<absl::Status> statuses;  // Each is its call's until `left` says that it is done.
  std::atomic<size_t> left;
  std::shared_ptr<Wake> wake;
};

using Ask = std::function<void(WorkerClient& worker, WorkerClient::Done done)>;
using Workers = std::vector<std::shared_ptr<WorkerClient>>;  // Shared with the pool.

// What each of `workers` says.
asio::awaitable<std::vector<absl::Status>> AskAll(Workers workers, Ask ask) {
  const auto answers = std::make_shared<Answers>(workers.size());
  answers->wake = std::make_shared<Wake>(co_await asio::this_coro::executor);
  for (size_t i = 0; i < workers.size(); ++i) {
    ask(*workers[i], [answers, i](const absl::Status& status) {
      answers->statuses[i] = status;
      if (--answers->left == 0) answers->wake->Set();
    });
  }
  while (answers->left > 0) co_await answers->wake->Wait(kWaitMs);
  co_return answers->statuses;
}

Workers ReadyWorkers(const WorkerPool& pool) {
  Workers ready;
  const std::shared_ptr<const Fleet::Members> members = pool.members();
  for (const Fleet::Member& member : *members) {
    if (member.client->Snapshot().ready) ready.push_back(member.client);
  }
  return ready;
}

// Until those of `workers` that are ready say that they hold the adapter, or do not.
asio::awaitable<void> AwaitReports(Workers workers, std::string name, bool held) {
  const auto wake = std::make_shared<Wake>(co_await asio::this_coro::executor);
  for (int i = 0; i < kReportPolls; ++i) {
    const bool done = absl::c_all_of(workers, [&](const std::shared_ptr<WorkerClient>& worker) {
      return !worker->Snapshot().ready || worker->HoldsAdapter(name) == held;
    });
    if (done) co_return;
    co_await wake->Wait(kReportPollMs);
  }
}

// A worker's refusal in the API's form.
absl::Status RefusalOf(const WorkerClient& worker, const absl::Status& status) {
  const std::string message =
      absl::StrCat("Worker ", worker.address(), ": ", status.message(), ".");
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return WithParam(absl::NotFoundError(message), "lora_path", "");
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kResourceExhausted:
      return InvalidParam("lora_name", message);
    case absl::StatusCode::kInvalidArgument:
      return InvalidParam("lora_path", message);
    default:
      return absl::UnavailableError(message);
  }
}

absl::Status NoWorker() { return absl::UnavailableError("No worker is ready; try again later."); }

}  // namespace

asio::awaitable<absl::StatusOr<std::string>> AdapterEndpoints::Load(const std::string& body) const {
  if (absl::Status status = CheckAllowed(allowed); !status.ok()) co_return status;
  const absl::StatusOr<AdapterBody> request = Parse(body, /*with_path=*/true);
  if (!request.ok()) co_return request.status();
  const Workers workers = ReadyWorkers(pool);
  if (workers.empty()) co_return NoWorker();
  const Ask ask = [&](WorkerClient& worker, WorkerClient::Done done) {
    worker.LoadAdapter(request->name, request->path, std::move(done));
  };
  const std::vector<absl::Status> statuses = co_await AskAll(workers, ask);
  for (size_t i = 0; i < workers.size(); ++i) {
    if (!statuses[i].ok()) co_return RefusalOf(*workers[i], statuses[i]);
  }
  if (absl::Status status = keeper.BlockingAdd(request->name, request->path); !status.ok()) {
    co_return status;
  }
  co_await AwaitReports(workers, request->name, /*held=*/true);
  co_return absl::StrCat("Success: LoRA adapter '", request->name, "' added successfully.");
}

asio::awaitable<absl::StatusOr<std::string>> AdapterEndpoints::Unload(
    const std::string& body) const {
  if (absl::Status status = CheckAllowed(allowed); !status.ok()) co_return status;
  const absl::StatusOr<AdapterBody> request = Parse(body, /*with_path=*/false);
  if (!request.ok()) co_return request.status();
  const Workers workers = ReadyWorkers(pool);
  if (workers.empty()) co_return NoWorker();
  if (absl::Status status = keeper.BlockingRemove(request->name); !status.ok()) {
    co_return absl::IsInvalidArgument(status)
        ? InvalidParam("lora_name", absl::StrCat(status.message(), "."))
        : status;
  }
  const Ask ask = [&](WorkerClient& worker, WorkerClient::Done done) {
    worker.UnloadAdapter(request->name, std::move(done));
  };
  const std::vector<absl::Status> statuses = co_await AskAll(workers, ask);
  // A worker that has not got it is as it should be, unless that is all of them.
  for (size_t i = 0; i < workers.size(); ++i) {
    if (statuses[i].ok() || absl::IsNotFound(statuses[i])) continue;
    co_return RefusalOf(*workers[i], statuses[i]);
  }
  if (absl::c_all_of(statuses, [](const absl::Status& status) { return !status.ok(); })) {
    co_return WithParam(
        absl::NotFoundError(absl::StrCat("The adapter `", request->name, "` is not loaded.")),
        "lora_name", "");
  }
  co_await AwaitReports(workers, request->name, /*held=*/false);
  co_return absl::StrCat("Success: LoRA adapter '", request->name, "' removed successfully.");
}

}  // namespace facet
