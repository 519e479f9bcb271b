#ifndef FACET_ROUTER_ADMISSION_ADMISSION_QUEUE_H_
#define FACET_ROUTER_ADMISSION_ADMISSION_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"

namespace facet {

// One answer that waits for a worker.
struct QueuedAnswer {
  uint64_t id = 0;  // Rises: of equal deadlines, the lower goes first.
  std::string tenant;
  double weight = 1;  // Of the tenant's share; above 0.
  // Which workers will do: those of one lane have room for it or not alike (its adapter).
  std::string lane;
  double tokens = 1;         // What it is thought to cost: of the prompt and the answer.
  double prompt_tokens = 0;  // Those of them that are computed before its first.
  size_t bytes = 0;          // That it keeps in memory.
  double deadline_s = 0;     // When it must be at a worker.
};

// Answers that wait: between tenants the one that has had the least goes next, measured in tokens
// by weight; of one tenant, the one of the earliest deadline. So while two tenants wait, what they
// get differs from their weights by no more than their largest request, and a tenant gains nothing
// by sending much, nor by having been away. This is what deficit round robin gives, without a
// quantum to choose.
//
// When it is full, who takes more than a share of it gives way, so a flood does not keep others out
// of the queue either. Holds no lock and no clock. Invariants, which CheckInvariants tests:
//   1. An answer is in exactly one lane of one tenant, and is found by its id.
//   2. size(), bytes() and each tenant's tokens and bytes are the sums over their answers.
//   3. A tenant without answers is kept only for what it has had beyond the others.
class AdmissionQueue {
 public:
  struct Options {
    int answers_max = 4096;
    size_t bytes_max = 512 << 20;
  };
  explicit AdmissionQueue(const Options& options) : options_(options) {}

  // Returns what does not fit any more: it is not, or no longer, in the queue. Perhaps `answer`.
  // REQUIRES: its id is not in the queue.
  std::vector<QueuedAnswer> Push(QueuedAnswer answer);
  // Back to its place, after Pop gave it and it found no room. It fits in any case.
  void PushBack(QueuedAnswer answer);
  // The next of those whose tenant and lane are open.
  using OpenFunction = absl::FunctionRef<bool(const std::string& tenant, const std::string& lane)>;
  std::optional<QueuedAnswer> Pop(OpenFunction open);
  // False if it is not there.
  bool Remove(uint64_t id);
  // Takes out those whose deadline has come.
  std::vector<QueuedAnswer> TakeExpired(double now_s);

  // Tokens that are served before an answer of this tenant, weight and deadline.
  double TokensBefore(const std::string& tenant, double weight, double deadline_s) const;

  size_t size() const { return places_.size(); }
  size_t bytes() const { return bytes_; }
  struct TenantView {
    std::string tenant;
    double weight;
    size_t answers;
    double tokens;
    size_t bytes;
  };
  std::vector<TenantView> Tenants() const;

  void CheckInvariants() const;

 private:
  // By deadline, then by id.
  using Lane = std::map<std::pair<double, uint64_t>, QueuedAnswer>;
  struct TenantQueue {
    double weight = 1;
    double served = 0;  // Tokens by weight.
    double tokens = 0;
    size_t bytes = 0;
    size_t answers = 0;
    std::map<std::string, Lane> lanes;  // None is empty.
  };
  struct Place {
    std::string tenant, lane;
    double deadline_s;
  };

  static double TokensUpTo(const TenantQueue& tenant, double deadline_s);
  void Insert(QueuedAnswer answer);
  QueuedAnswer Take(uint64_t id);
  // The latest answer of the tenant that takes the most of the queue, by weight.
  uint64_t LastOfGreatest() const;
  void ForgetIdle();

  const Options options_;
  std::map<std::string, TenantQueue> tenants_;
  absl::flat_hash_map<uint64_t, Place> places_;
  size_t bytes_ = 0;
  // What the tenant that was served last had had before: where one that comes begins.
  double served_ = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_ADMISSION_ADMISSION_QUEUE_H_
