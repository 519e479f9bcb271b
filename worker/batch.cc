#include "worker/batch.h"

#include "base/check.h"

namespace facet {

void Batch::Add(absl::Span<const int32_t> new_ids, int32_t first, const PageTables* pages,
                int outputs) {
  const int count = static_cast<int>(new_ids.size());
  CHECK(count > 0 && outputs >= 0 && outputs <= count) << outputs << " of " << count;
  const auto index = static_cast<int32_t>(tables.size());
  tables.push_back(pages);
  for (int i = 0; i < count; ++i) {
    if (i >= count - outputs) output_rows.push_back(rows());
    ids.push_back(new_ids[i]);
    position.push_back(first + i);
    sequence.push_back(index);
  }
}

}  // namespace facet
