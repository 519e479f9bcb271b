#include "router/cluster/stuck_workers.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace facet {
namespace {

// A silence of so many of a worker's longest steps is none of a slow one.
constexpr int kSteps = 10;
// Tokens of prompts that a step computes at most, unless a worker was started otherwise.
constexpr double kStepTokens = 512;

}  // namespace

std::vector<size_t> StuckWorkers(absl::Span<const WorkerSilence> workers, double limit_s) {
  std::vector<size_t> stuck;
  bool other = false;
  for (size_t i = 0; i < workers.size(); ++i) {
    const WorkerSilence& worker = workers[i];
    if (!worker.ready) continue;
    if (worker.silent_s > std::max(limit_s, kSteps * worker.longest_step_s)) {
      stuck.push_back(i);
    } else {
      other |= worker.silent_s <= limit_s;
    }
  }
  return other ? stuck : std::vector<size_t>();
}

StuckWatch::StuckWatch(WorkerPool* pool, int stuck_ms)
    : pool_(*pool), stuck_ms_(stuck_ms), thread_([this] { Loop(); }) {}

StuckWatch::~StuckWatch() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void StuckWatch::Loop() {
  const absl::Duration interval = absl::Milliseconds(std::clamp(stuck_ms_ / 4, 10, 1'000));
  absl::Time next = absl::Now() + interval;
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithDeadline(absl::Condition(&stopping_), next)) return;
    }
    // Who is late was stopped itself: what workers said meanwhile is to be read first.
    const absl::Time now = absl::Now();
    if (now - next < interval) Look();
    next = now + interval;
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
