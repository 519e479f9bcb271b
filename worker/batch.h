#ifndef FACET_WORKER_BATCH_H_
#define FACET_WORKER_BATCH_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "worker/adapter.h"
#include "worker/media_item.h"

namespace facet {

// One sequence's pages, by logical page (position / 64). Sliding pages below the window are given
// back and read kNoPage.
struct PageTables {
  static constexpr int32_t kNoPage = -1;
  std::vector<int32_t> full;
  std::vector<int32_t> sliding;
};

// What one step computes: a row for each token, from any number of sequences. Rows of one sequence
// stand together in ascending position. All on the host.
struct Batch {
  std::vector<int32_t> ids;               // [rows]
  std::vector<int32_t> position;          // [rows]
  std::vector<int32_t> last_visible;      // [rows], on sliding layers: its own, or its image's end
  std::vector<int32_t> sequence;          // [rows], an index into `tables`
  std::vector<const PageTables*> tables;  // [sequences]
  std::vector<const Adapter*> adapters;   // [sequences], null: none
  std::vector<int32_t> output_rows;       // the rows whose logits are wanted, ascending
  // [output rows], or empty: how many of each one's likeliest ids will be looked at; 0: all.
  std::vector<int32_t> best_counts;
  std::vector<MediaToken> media;  // rows that are patches or frames, ascending; without
                                  // items on followers, who get them embedded

  int rows() const { return static_cast<int>(ids.size()); }

  // Appends `ids` at positions [first, first + ids.size()) of a sequence; the last `outputs` of
  // them are output rows. Where one of `items`, the sequence's, has tokens, these are computed in
  // place of the ids. What is pointed to must outlive the step; `pages` cover these positions.
  void Add(absl::Span<const int32_t> ids, int32_t first, const PageTables* pages, int outputs,
           absl::Span<const MediaItem> items = {}, const Adapter* adapter = nullptr);
};

}  // namespace facet

#endif  // FACET_WORKER_BATCH_H_
