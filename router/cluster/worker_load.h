#ifndef FACET_ROUTER_CLUSTER_WORKER_LOAD_H_
#define FACET_ROUTER_CLUSTER_WORKER_LOAD_H_

#include <cstdint>

#include "proto/worker.pb.h"
#include "router/cluster/placement.h"

namespace facet {

// How busy one worker is by what it reported last and what this router has sent since: the part of
// WorkerSnapshot that changes with each request. Holds no lock and no clock.
class WorkerLoad {
 public:
  void OnReport(const v1::Load& load);
  // It was sent a request of whose prompt it has about so many tokens to compute.
  void OnStart(uint32_t prefill_tokens);
  // Somebody else sent it one: counted until it is in a report.
  void OnStartElsewhere(uint32_t prefill_tokens);
  // The answer of one that was sent with so many tokens has begun.
  void OnAnswerBegun(uint32_t prefill_tokens);
  // One has ended, whose answer had begun; else OnAnswerBegun goes before.
  void OnEnd();
  // The worker is gone, with all that it had.
  void OnLost() { *this = WorkerLoad(); }

  const v1::Load& report() const { return report_; }
  // Sets the fields of `snapshot` that this is about.
  void AddTo(WorkerSnapshot& snapshot) const;

 private:
  struct Started {
    uint32_t requests = 0;
    uint64_t tokens = 0;
  };

  v1::Load report_;
  // What was started since the last report, and between it and the one before: that one may have
  // been written before it saw the end of these.
  Started since_report_, before_report_;
  uint32_t in_flight_ = 0;
  uint64_t prefill_tokens_in_flight_ = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_WORKER_LOAD_H_
