#ifndef FACET_WORKER_GROUP_TASK_H_
#define FACET_WORKER_GROUP_TASK_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/group.pb.h"
#include "worker/batch.h"
#include "worker/drafter.h"

namespace facet {

// How rank 0 tells the others what to do, and how they understand it: pure translations.

v1::GroupStep ToGroupStep(const Batch& batch);
v1::GroupDraft ToGroupDraft(absl::Span<const Drafter::Row> rows, int count);

// A batch, and what it points to.
struct FollowerBatch {
  Batch batch;
  std::vector<PageTables> tables;
};
// `adapters`: those of step.adapters(), in that order. INVALID_ARGUMENT names the field that does
// not fit the others. What the batch points to are the result's tables and `adapters`.
absl::StatusOr<std::unique_ptr<FollowerBatch>> FromGroupStep(
    const v1::GroupStep& step, absl::Span<const Adapter* const> adapters);

struct FollowerDraft {
  std::vector<Drafter::Row> rows;
  std::vector<PageTables> tables;
};
std::unique_ptr<FollowerDraft> FromGroupDraft(const v1::GroupDraft& draft);

}  // namespace facet

#endif  // FACET_WORKER_GROUP_TASK_H_
