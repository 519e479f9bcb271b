#include "router/cluster/fleet.h"

#include <utility>

#include "base/log.h"

namespace facet {

Fleet::Fleet(Connect connect, std::function<void(int id)> on_gone)
    : connect_(std::move(connect)),
      on_gone_(std::move(on_gone)),
      members_(std::make_shared<const Members>()),
      reaper_([this] { Reap(); }) {}

Fleet::~Fleet() {
  Set({});
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  reaper_.join();
}

std::shared_ptr<const Fleet::Members> Fleet::members() const {
  absl::MutexLock lock(&mutex_);
  return members_;
}

void Fleet::Set(const WantedWorkers& wanted) {
  absl::MutexLock setting(&setting_mutex_);
  const std::shared_ptr<const Members> before = members();
  for (auto it = leaving_.begin(); it != leaving_.end();) {
    it = it->second.client.expired() ? leaving_.erase(it) : std::next(it);
  }
  std::map<std::string, const Member*> leaving;
  for (const Member& member : *before) leaving.emplace(member.client->address(), &member);
  auto after = std::make_shared<Members>();
  for (const auto& [address, origins] : wanted) {
    const auto known = leaving.find(address);
    Member& member = after->emplace_back(known == leaving.end() ? Join(address) : *known->second);
    member.origins = origins;
    if (known != leaving.end()) leaving.erase(known);
  }
  for (const auto& [address, member] : leaving) {
    leaving_.insert_or_assign(address, Leaving{member->client, member->id});
    LogInfo("worker leaves", {{"worker", address}});
  }
  absl::MutexLock lock(&mutex_);
  members_ = std::move(after);
}

Fleet::Member Fleet::Join(const std::string& address) {
  if (const auto left = leaving_.find(address); left != leaving_.end()) {
    const Leaving back = left->second;
    leaving_.erase(left);
    if (auto client = back.client.lock(); client != nullptr) {
      return {std::move(client), back.id, {}};
    }
  }
  const int id = TakeId();
  WorkerClient* const client = connect_(address, id).release();
  const auto bury = [this, id](WorkerClient* unheld) {
    Bury(std::unique_ptr<WorkerClient>(unheld), id);
  };
  return {std::shared_ptr<WorkerClient>(client, bury), id, {}};
}

int Fleet::TakeId() {
  absl::MutexLock lock(&mutex_);
  int id = 0;
  for (const int used : used_ids_) {
    if (used != id) break;
    ++id;
  }
  used_ids_.insert(id);
  return id;
}

void Fleet::Bury(std::unique_ptr<WorkerClient> client, int id) {
  absl::MutexLock lock(&mutex_);
  gone_.push_back({std::move(client), id});
}

void Fleet::Reap() {
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !gone_.empty() || (stopping_ && used_ids_.empty());
  };
  for (;;) {
    std::vector<Gone> gone;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      gone.swap(gone_);
      if (gone.empty()) return;
    }
    for (Gone& one : gone) {
      one.client = nullptr;
      on_gone_(one.id);
      absl::MutexLock lock(&mutex_);
      used_ids_.erase(one.id);
    }
  }
}

}  // namespace facet
