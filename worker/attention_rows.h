#ifndef FACET_WORKER_ATTENTION_ROWS_H_
#define FACET_WORKER_ATTENTION_ROWS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "worker/batch.h"
#include "worker/device_array.h"
#include "worker/weights.h"

namespace facet {

// What a batch looks like to one kind of layer, full or sliding: where its rows stand, which keys
// they see, and by which angles they turn. Owns the device memory that holds it, which `device`
// must outlive. Used by one thread, the engine's.
class AttentionRows {
 public:
  // The kind of layer that `sliding` says, of a decoder with these weights.
  static absl::StatusOr<AttentionRows> Make(const Weights& weights, bool sliding, int rows_max,
                                            Device* device);

  // All on the host, one entry for each row.
  struct Rows {
    absl::Span<const int32_t> position;
    absl::Span<const int32_t> sequence;   // an index into `tables`
    absl::Span<const int32_t> first_key;  // the first position that a row sees
    absl::Span<const int32_t> last_key;   // the last, inclusive
    absl::Span<const PageTables* const> tables;
  };
  // REQUIRES: at most rows_max rows.
  void Set(const Rows& rows);

  // Valid until the next Set.
  const KvRows& rows() const { return rows_; }
  const RopeTable& rope() const { return rope_; }

 private:
  AttentionRows(bool sliding, Device* device) : sliding_(sliding), device_(device) {}
  void SetPageTables(absl::Span<const PageTables* const> tables);

  bool sliding_;
  Device* device_;
  std::vector<float> inverse_frequencies_;  // [pairs]
  DeviceArray<int32_t> position_, sequence_, first_key_, last_key_, page_tables_;
  DeviceArray<float> cosines_, sines_;
  KvRows rows_;
  RopeTable rope_;
};

}  // namespace facet

#endif  // FACET_WORKER_ATTENTION_ROWS_H_
