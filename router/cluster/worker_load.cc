#include "router/cluster/worker_load.h"

#include <utility>

#include "base/check.h"

namespace facet {

void WorkerLoad::OnReport(const v1::Load& load) {
  report_ = load;
  before_report_ = std::exchange(since_report_, Started());
}

void WorkerLoad::OnStart(uint32_t prefill_tokens) {
  OnStartElsewhere(prefill_tokens);
  ++in_flight_;
  prefill_tokens_in_flight_ += prefill_tokens;
}

void WorkerLoad::OnStartElsewhere(uint32_t prefill_tokens) {
  ++since_report_.requests;
  since_report_.tokens += prefill_tokens;
}

void WorkerLoad::OnAnswerBegun(uint32_t prefill_tokens) {
  CHECK_GE(prefill_tokens_in_flight_, prefill_tokens);
  prefill_tokens_in_flight_ -= prefill_tokens;
}

void WorkerLoad::OnEnd() {
  CHECK_GT(in_flight_, 0u);
  --in_flight_;
}

void WorkerLoad::AddTo(WorkerSnapshot& snapshot) const {
  snapshot.draining = report_.draining();
  snapshot.running = report_.running_requests();
  snapshot.waiting = report_.waiting_requests();
  snapshot.prefill_tokens_waiting = report_.prefill_tokens_waiting();
  snapshot.started_since_report = since_report_.requests + before_report_.requests;
  snapshot.in_flight = in_flight_;
  snapshot.prefill_tokens_since_report = since_report_.tokens + before_report_.tokens;
  snapshot.prefill_tokens_in_flight = prefill_tokens_in_flight_;
  snapshot.started_after_report = since_report_.requests;
  snapshot.prefill_tokens_after_report = since_report_.tokens;
  snapshot.prefill_tokens_per_s = report_.prefill_tokens_per_s();
  snapshot.decode_step_s = report_.decode_step_s();
  snapshot.decode_row_s = report_.decode_row_s();
  snapshot.peer_bytes_per_s = report_.peer_bytes_per_s();
}

}  // namespace facet
