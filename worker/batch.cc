#include "worker/batch.h"

#include <cstddef>

#include "base/check.h"

namespace facet {

void Batch::Add(absl::Span<const int32_t> new_ids, int32_t first, const PageTables* pages,
                bool want_output) {
  CHECK(!new_ids.empty());
  const auto index = static_cast<int32_t>(tables.size());
  tables.push_back(pages);
  for (size_t i = 0; i < new_ids.size(); ++i) {
    ids.push_back(new_ids[i]);
    position.push_back(first + static_cast<int32_t>(i));
    sequence.push_back(index);
  }
  if (want_output) output_rows.push_back(rows() - 1);
}

}  // namespace facet
