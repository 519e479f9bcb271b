#include "worker/adapter_loader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace facet {
namespace {

// Several routers may ask for all adapters of a folder at once.
constexpr size_t kWaitingMax = 256;

}  // namespace

AdapterLoader::AdapterLoader(AdapterRegistry* registry)
    : registry_(*registry), thread_([this] { Loop(); }) {}

AdapterLoader::~AdapterLoader() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void AdapterLoader::Add(const std::string& name, const std::string& path, Done done) {
  {
    absl::MutexLock lock(&mutex_);
    if (waiting_.size() < kWaitingMax) return waiting_.push_back({name, path, std::move(done)});
  }
  done(absl::ResourceExhaustedError(absl::StrCat(kWaitingMax, " adapters wait to be loaded")));
}

void AdapterLoader::Loop() {
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !waiting_.empty();
  };
  while (true) {
    Job job;
    bool stopping;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (waiting_.empty()) return;
      job = std::move(waiting_.front());
      waiting_.pop_front();
      stopping = stopping_;
    }
    if (stopping) {
      job.done(absl::UnavailableError("this worker is stopping"));
      continue;
    }
    const absl::Status status = registry_.BlockingLoad(job.name, job.path);
    LogInfo(status.ok() ? "adapter loaded" : "adapter not loaded",
            {{"adapter", job.name},
             {"path", job.path},
             {"reason", absl::string_view(status.message())}});
    job.done(status);
  }
}

}  // namespace facet
