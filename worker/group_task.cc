#include "worker/group_task.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace facet {
namespace {

using Numbers = google::protobuf::RepeatedField<int32_t>;

void Put(absl::Span<const int32_t> from, Numbers* to) { to->Add(from.begin(), from.end()); }

std::vector<int32_t> Take(const Numbers& from) { return {from.begin(), from.end()}; }

void Put(const PageTables& from, v1::GroupPageTables* to) {
  Put(from.full, to->mutable_full());
  Put(from.sliding, to->mutable_sliding());
}

PageTables Take(const v1::GroupPageTables& from) {
  return {Take(from.full()), Take(from.sliding())};
}

absl::Status CheckSize(absl::string_view field, int size, int expected) {
  if (size == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the leader's step has ", size, " ", field, ", not ", expected));
}

absl::Status CheckBelow(absl::string_view field, const Numbers& values, int low, int limit) {
  for (const int32_t value : values) {
    if (value >= low && value < limit) continue;
    return absl::InvalidArgumentError(absl::StrCat("the leader's step has a ", field, " of ", value,
                                                   ", not in [", low, ", ", limit, ")"));
  }
  return absl::OkStatus();
}

}  // namespace

v1::GroupStep ToGroupStep(const Batch& batch) {
  v1::GroupStep step;
  Put(batch.ids, step.mutable_ids());
  Put(batch.position, step.mutable_position());
  Put(batch.last_visible, step.mutable_last_visible());
  Put(batch.sequence, step.mutable_sequence());
  Put(batch.output_rows, step.mutable_output_rows());
  Put(batch.best_counts, step.mutable_best_counts());
  for (const PageTables* tables : batch.tables) Put(*tables, step.add_tables());
  for (const MediaToken& token : batch.media) step.add_media_rows(token.row);
  std::vector<const Adapter*> seen;  // few: a linear search is fine
  for (const Adapter* adapter : batch.adapters) {
    const auto found = std::find(seen.begin(), seen.end(), adapter);
    step.add_adapter(adapter == nullptr ? -1 : static_cast<int32_t>(found - seen.begin()));
    if (adapter == nullptr || found != seen.end()) continue;
    seen.push_back(adapter);
    step.add_adapters()->set_path(adapter->path);
    step.mutable_adapters()->rbegin()->set_digest(adapter->digest);
  }
  return step;
}

absl::StatusOr<std::unique_ptr<FollowerBatch>> FromGroupStep(
    const v1::GroupStep& step, absl::Span<const Adapter* const> adapters) {
  const int rows = step.ids_size(), sequences = step.tables_size();
  RETURN_IF_ERROR(CheckSize("positions", step.position_size(), rows));
  RETURN_IF_ERROR(CheckSize("last visible positions", step.last_visible_size(), rows));
  RETURN_IF_ERROR(CheckSize("sequences of rows", step.sequence_size(), rows));
  RETURN_IF_ERROR(CheckSize("adapters of sequences", step.adapter_size(), sequences));
  RETURN_IF_ERROR(CheckSize("adapters", step.adapters_size(), static_cast<int>(adapters.size())));
  if (step.best_counts_size() > 0) {
    RETURN_IF_ERROR(CheckSize("best counts", step.best_counts_size(), step.output_rows_size()));
  }
  RETURN_IF_ERROR(CheckBelow("sequence", step.sequence(), 0, sequences));
  RETURN_IF_ERROR(CheckBelow("output row", step.output_rows(), 0, rows));
  RETURN_IF_ERROR(CheckBelow("media row", step.media_rows(), 0, rows));
  RETURN_IF_ERROR(CheckBelow("adapter", step.adapter(), -1, step.adapters_size()));
  auto follower = std::make_unique<FollowerBatch>();
  Batch& batch = follower->batch;
  batch.ids = Take(step.ids());
  batch.position = Take(step.position());
  batch.last_visible = Take(step.last_visible());
  batch.sequence = Take(step.sequence());
  batch.output_rows = Take(step.output_rows());
  batch.best_counts = Take(step.best_counts());
  for (const v1::GroupPageTables& tables : step.tables()) follower->tables.push_back(Take(tables));
  for (const PageTables& tables : follower->tables) batch.tables.push_back(&tables);
  for (const int32_t row : step.media_rows()) batch.media.push_back({row, nullptr, 0});
  for (const int32_t index : step.adapter()) {
    batch.adapters.push_back(index < 0 ? nullptr : adapters[index]);
  }
  return follower;
}

v1::GroupDraft ToGroupDraft(absl::Span<const Drafter::Row> rows, int count) {
  v1::GroupDraft draft;
  draft.set_count(count);
  for (const Drafter::Row& row : rows) {
    v1::GroupDraft::Row* const to = draft.add_rows();
    to->set_newest(row.newest);
    to->set_position(row.position);
    to->set_state_row(row.state_row);
    Put(*row.pages, to->mutable_pages());
  }
  return draft;
}

std::unique_ptr<FollowerDraft> FromGroupDraft(const v1::GroupDraft& draft) {
  auto follower = std::make_unique<FollowerDraft>();
  for (const v1::GroupDraft::Row& row : draft.rows()) {
    follower->tables.push_back(Take(row.pages()));
  }
  for (int i = 0; i < draft.rows_size(); ++i) {
    const v1::GroupDraft::Row& row = draft.rows(i);
    follower->rows.push_back({row.newest(), row.position(), &follower->tables[i], row.state_row()});
  }
  return follower;
}

}  // namespace facet
