#include "worker/adapter_registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "model/adapter_folder.h"

namespace facet {

absl::Status AdapterRegistry::BlockingLoad(const std::string& name, const std::string& path) {
  RETURN_IF_ERROR(CheckAdapterName(name));
  absl::MutexLock load_lock(&load_mutex_);
  const std::shared_ptr<const Adapter> old = Find(name);
  const int64_t room = limits_.bytes_max - bytes_held();
  // Where the name is taken this only finds out whether by the same, and is dropped again.
  ASSIGN_OR_RETURN(
      std::unique_ptr<Adapter> adapter,
      BlockingLoadAdapter(name, path, base_, old == nullptr ? room : limits_.bytes_max, device_));
  if (old != nullptr && old->digest == adapter->digest) return absl::OkStatus();
  if (old != nullptr) {
    return absl::AlreadyExistsError(
        absl::StrCat("adapter '", name, "' is loaded with other contents: unload it first"));
  }
  absl::MutexLock lock(&mutex_);
  if (static_cast<int>(held_.size()) >= limits_.adapters_max) {
    return absl::ResourceExhaustedError(absl::StrCat(
        held_.size(), " adapters are loaded, the most this worker holds (--adapters_max)"));
  }
  if (adapter->bytes > room) {
    return absl::ResourceExhaustedError(absl::StrCat("adapter '", name, "' takes ", adapter->bytes,
                                                     " bytes, there is room for ", room,
                                                     " (--adapter_bytes_max)"));
  }
  held_[name] = std::move(adapter);
  if (observer_) observer_(ListLocked());
  return absl::OkStatus();
}

absl::Status AdapterRegistry::Unload(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  const auto found = held_.find(name);
  if (found == held_.end()) {
    return absl::NotFoundError(absl::StrCat("adapter '", name, "' is not known to this worker"));
  }
  unloaded_.erase(std::remove_if(unloaded_.begin(), unloaded_.end(),
                                 [](const auto& adapter) { return adapter.expired(); }),
                  unloaded_.end());
  unloaded_.push_back(found->second);
  held_.erase(found);
  if (observer_) observer_(ListLocked());
  return absl::OkStatus();
}

std::shared_ptr<const Adapter> AdapterRegistry::Find(absl::string_view name) const {
  absl::MutexLock lock(&mutex_);
  const auto found = held_.find(name);
  return found == held_.end() ? nullptr : found->second;
}

std::vector<AdapterRegistry::Entry> AdapterRegistry::List() const {
  absl::MutexLock lock(&mutex_);
  return ListLocked();
}

int64_t AdapterRegistry::bytes_held() const {
  absl::MutexLock lock(&mutex_);
  return BytesLocked();
}

void AdapterRegistry::SetObserver(Observer observer) {
  absl::MutexLock lock(&mutex_);
  observer_ = std::move(observer);
  observer_(ListLocked());
}

std::vector<AdapterRegistry::Entry> AdapterRegistry::ListLocked() const {
  std::vector<Entry> entries;
  for (const auto& [name, adapter] : held_) {
    entries.push_back({name, adapter->digest, adapter->rank_max});
  }
  return entries;
}

int64_t AdapterRegistry::BytesLocked() const {
  int64_t bytes = 0;
  for (const auto& [name, adapter] : held_) bytes += adapter->bytes;
  for (const auto& weak : unloaded_) {
    if (const auto adapter = weak.lock(); adapter != nullptr) bytes += adapter->bytes;
  }
  return bytes;
}

absl::Status BlockingLoadFolder(const std::string& folder, AdapterRegistry& registry) {
  ASSIGN_OR_RETURN(const std::vector<AdapterPath> adapters, ListAdapters(folder));
  for (const AdapterPath& adapter : adapters) {
    const absl::Status status = registry.BlockingLoad(adapter.name, adapter.path);
    if (status.ok()) {
      LogInfo("adapter loaded", {{"adapter", adapter.name}});
    } else {
      LogWarning("adapter not loaded",
                 {{"adapter", adapter.name}, {"reason", absl::string_view(status.message())}});
    }
  }
  return absl::OkStatus();
}

}  // namespace facet
