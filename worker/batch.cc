#include "worker/batch.h"

#include <algorithm>

#include "base/check.h"

namespace facet {

void Batch::Add(absl::Span<const int32_t> new_ids, int32_t first, const PageTables* pages,
                int outputs, absl::Span<const MediaItem> items, const Adapter* adapter) {
  const int count = static_cast<int>(new_ids.size());
  CHECK(count > 0 && outputs >= 0 && outputs <= count) << outputs << " of " << count;
  const auto index = static_cast<int32_t>(tables.size());
  tables.push_back(pages);
  adapters.push_back(adapter);
  for (int i = 0; i < count; ++i) {
    if (i >= count - outputs) output_rows.push_back(rows());
    ids.push_back(new_ids[i]);
    position.push_back(first + i);
    last_visible.push_back(first + i);
    sequence.push_back(index);
  }
  const int first_row = rows() - count;
  for (const MediaItem& item : items) {
    const int begin = std::max(item.first_token, first), end = std::min(item.end(), first + count);
    for (int at = begin; at < end; ++at) {
      const int row = first_row + at - first;
      media.push_back({row, &item, at - item.first_token});
      if (!item.image) continue;
      CHECK_EQ(end, item.end()) << "an image is cut";
      last_visible[row] = item.end() - 1;
    }
  }
}

}  // namespace facet
