#include "router/cluster/stuck_watch.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "absl/strings/str_format.h"
#include "router/cluster/stuck_workers.h"

namespace facet {
namespace {

// Tokens of prompts that a step computes at most, unless a worker was started otherwise.
constexpr double kStepTokens = 512;

}  // namespace

StuckWatch::StuckWatch(WorkerPool* pool, int stuck_ms)
    : pool_(*pool), stuck_ms_(stuck_ms), thread_([this] { Loop(); }) {}

StuckWatch::~StuckWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void StuckWatch::Loop() {
  using Clock = std::chrono::steady_clock;
  const std::chrono::milliseconds interval(std::clamp(stuck_ms_ / 4, 10, 1'000));
  for (;;) {
    const Clock::time_point next = Clock::now() + interval;
    {
      std::unique_lock lock(mutex_);
      if (stop_.wait_until(lock, next, [this] { return stopping_; })) return;
    }
    // Who is late was stopped itself: what workers said meanwhile is to be read first.
    if (Clock::now() - next < interval) Look();
  }
}

void StuckWatch::Look() {
  const std::shared_ptr<const Fleet::Members> members = pool_.members();
  std::vector<WorkerSilence> silences;
  for (const Fleet::Member& member : *members) {
    const WorkerSnapshot snapshot = member.client->Snapshot();
    WorkerSilence& silence = silences.emplace_back();
    silence.ready = snapshot.ready;
    silence.silent_s = member.client->SilentS();
    if (snapshot.prefill_tokens_per_s > 0) {
      silence.longest_step_s = kStepTokens / snapshot.prefill_tokens_per_s;
    }
  }
  for (const size_t i : StuckWorkers(silences, stuck_ms_ * 1e-3)) {
    (*members)[i].client->GiveUp(
        absl::StrFormat("it has answered nothing for %.1f s", silences[i].silent_s));
  }
}

}  // namespace facet
