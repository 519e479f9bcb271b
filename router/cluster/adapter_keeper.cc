#include "router/cluster/adapter_keeper.h"

#include <filesystem>
#include <set>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "model/adapter_folder.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

// Where a link to an adapter stands: its name says which kind it is.
fs::path LinkOf(const std::string& folder, const std::string& name, bool is_gguf) {
  return fs::path(folder) / (is_gguf ? absl::StrCat(name, ".gguf") : name);
}

absl::Status Failed(const fs::path& path, const std::error_code& error) {
  return absl::UnavailableError(absl::StrCat(path.string(), ": ", error.message()));
}

}  // namespace

AdapterKeeper::AdapterKeeper(WorkerPool* pool, AdapterKeeperOptions options)
    : pool_(*pool), options_(std::move(options)), asked_(std::make_shared<Asked>()) {
  if (!options_.folder.empty()) thread_ = std::thread([this] { Loop(); });
}

AdapterKeeper::~AdapterKeeper() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status AdapterKeeper::BlockingAdd(const std::string& name, const std::string& path) {
  if (options_.folder.empty()) return absl::OkStatus();
  std::error_code error;
  for (const bool is_gguf : {false, true}) {
    // A folder or file of this name is what all workers load already.
    if (fs::exists(fs::symlink_status(LinkOf(options_.folder, name, is_gguf), error))) {
      return absl::OkStatus();
    }
  }
  const fs::path link = LinkOf(options_.folder, name, absl::EndsWith(path, ".gguf"));
  fs::create_symlink(fs::absolute(path), link, error);
  return error ? Failed(link, error) : absl::OkStatus();
}

absl::Status AdapterKeeper::BlockingRemove(const std::string& name) {
  if (options_.folder.empty()) return absl::OkStatus();
  for (const bool is_gguf : {false, true}) {
    const fs::path link = LinkOf(options_.folder, name, is_gguf);
    std::error_code error;
    const fs::file_status status = fs::symlink_status(link, error);
    if (!fs::exists(status)) continue;
    if (!fs::is_symlink(status)) {
      return absl::InvalidArgumentError(absl::StrCat(
          link.string(), " is one of the adapters that all workers load: remove it there"));
    }
    if (!fs::remove(link, error) && error) return Failed(link, error);
  }
  return absl::OkStatus();
}

void AdapterKeeper::Loop() {
  while (true) {
    BlockingLook();
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), options_.look_interval)) return;
  }
}

void AdapterKeeper::BlockingLook() {
  const absl::StatusOr<std::vector<AdapterPath>> adapters = ListAdapters(options_.folder);
  if (!adapters.ok()) {
    // What was wanted stays so: shared storage may be away for a moment.
    if (!logged_folder_) {
      LogWarning("adapter folder cannot be read",
                 {{"reason", absl::string_view(adapters.status().message())}});
    }
    logged_folder_ = true;
    return;
  }
  logged_folder_ = false;
  std::set<std::string> names;
  for (const AdapterPath& adapter : *adapters) names.insert(adapter.name);
  pool_.SetWantedAdapters(names);
  const std::shared_ptr<const Fleet::Members> workers = pool_.members();
  for (const Fleet::Member& worker : *workers) {
    if (!worker.client->Snapshot().ready) continue;
    for (const AdapterPath& adapter : *adapters) {
      if (worker.client->HoldsAdapter(adapter.name)) continue;
      Ask(*worker.client, adapter.name, adapter.path);
    }
  }
}

void AdapterKeeper::Ask(WorkerClient& worker, const std::string& name, const std::string& path) {
  const Asked::Wish wish(worker.address(), name);
  bool failed_before;
  {
    absl::MutexLock lock(&asked_->mutex);
    const auto found = asked_->not_before.find(wish);
    failed_before = found != asked_->not_before.end();
    if (failed_before && Clock::now() < found->second) return;
    asked_->not_before[wish] = Clock::time_point::max();
  }
  const auto retry_interval = absl::ToChronoMilliseconds(options_.retry_interval);
  worker.LoadAdapter(
      name, path,
      [asked = asked_, wish, failed_before, retry_interval](const absl::Status& status) {
        absl::MutexLock lock(&asked->mutex);
        // A worker that went away in between is asked as soon as it is back.
        if (status.ok() || absl::IsUnavailable(status)) {
          asked->not_before.erase(wish);
          return;
        }
        asked->not_before[wish] = Clock::now() + retry_interval;
        if (failed_before) return;
        LogWarning("adapter not loaded", {{"worker", wish.first},
                                          {"adapter", wish.second},
                                          {"reason", absl::string_view(status.message())}});
      });
}

}  // namespace facet
