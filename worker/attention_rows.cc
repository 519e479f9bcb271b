#include "worker/attention_rows.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"

namespace facet {
namespace {

// theta^(-2 i / head_dim), as transformers computes it in modeling_rope_utils.
std::vector<float> InverseFrequencies(const Weights& weights, bool sliding) {
  const TextConfig& config = weights.config;
  int head_dim = 0;
  for (const LayerConfig& layer : config.layers) {
    if (layer.sliding == sliding) head_dim = layer.head_dim;
  }
  const double theta = sliding ? config.rope_theta_sliding : config.rope_theta_full;
  std::vector<float> frequencies(head_dim / 2);
  for (int i = 0; i < head_dim / 2; ++i) {
    frequencies[i] = static_cast<float>(1.0 / std::pow(theta, 2.0 * i / head_dim));
  }
  if (sliding) return frequencies;
  frequencies.resize(FullRopePairs(weights));
  for (size_t i = 0; i < frequencies.size(); ++i) frequencies[i] /= weights.rope_divisors[i];
  return frequencies;
}

template <typename T>
absl::StatusOr<DeviceBuffer> AllocateArray(Device& device, size_t elements) {
  return device.Allocate(static_cast<int64_t>(std::max<size_t>(elements, 1) * sizeof(T)));
}

template <typename T>
void Upload(Device& device, absl::Span<const T> values, const DeviceBuffer& buffer) {
  device.CopyToDevice(buffer.get(), values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
}

const int32_t* Ints(const DeviceBuffer& buffer) {
  return static_cast<const int32_t*>(buffer.get());
}

}  // namespace

absl::StatusOr<AttentionRows> AttentionRows::Make(const Weights& weights, bool sliding,
                                                  int rows_max, Device* device) {
  AttentionRows made(sliding, device);
  made.inverse_frequencies_ = InverseFrequencies(weights, sliding);
  const size_t pairs = made.inverse_frequencies_.size();
  for (DeviceBuffer* buffer :
       {&made.position_, &made.sequence_, &made.first_key_, &made.last_key_}) {
    ASSIGN_OR_RETURN(*buffer, AllocateArray<int32_t>(*device, rows_max));
  }
  for (DeviceBuffer* buffer : {&made.cosines_, &made.sines_}) {
    ASSIGN_OR_RETURN(*buffer, AllocateArray<float>(*device, rows_max * pairs));
  }
  return made;
}

void AttentionRows::Set(const Rows& rows) {
  const size_t count = rows.position.size(), pairs = inverse_frequencies_.size();
  std::vector<float> cosines(count * pairs), sines(count * pairs);
  for (size_t r = 0; r < count; ++r) {
    for (size_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(rows.position[r]) * inverse_frequencies_[i];
      cosines[r * pairs + i] = std::cos(angle);
      sines[r * pairs + i] = std::sin(angle);
    }
  }
  Upload(*device_, rows.position, position_);
  Upload(*device_, rows.sequence, sequence_);
  Upload(*device_, rows.first_key, first_key_);
  Upload(*device_, rows.last_key, last_key_);
  Upload<float>(*device_, cosines, cosines_);
  Upload<float>(*device_, sines, sines_);
  SetPageTables(rows.tables);
  rows_.rows = static_cast<int>(count);
  rows_.position = Ints(position_);
  rows_.sequence = Ints(sequence_);
  rows_.first_key = Ints(first_key_);
  rows_.last_key = Ints(last_key_);
  rope_ = {static_cast<const float*>(cosines_.get()), static_cast<const float*>(sines_.get()),
           static_cast<int>(pairs)};
}

void AttentionRows::SetPageTables(absl::Span<const PageTables* const> tables) {
  const auto pages = [this](const PageTables* table) -> const std::vector<int32_t>& {
    return sliding_ ? table->sliding : table->full;
  };
  size_t stride = 1;
  for (const PageTables* table : tables) stride = std::max(stride, pages(table).size());
  std::vector<int32_t> all(stride * tables.size(), PageTables::kNoPage);
  for (size_t s = 0; s < tables.size(); ++s) {
    std::copy(pages(tables[s]).begin(), pages(tables[s]).end(), all.begin() + s * stride);
  }
  if (page_tables_size_ < all.size()) {
    page_tables_size_ = all.size();
    absl::StatusOr<DeviceBuffer> larger = AllocateArray<int32_t>(*device_, page_tables_size_);
    CHECK_OK(larger);
    page_tables_ = *std::move(larger);
  }
  Upload<int32_t>(*device_, all, page_tables_);
  rows_.page_tables = Ints(page_tables_);
  rows_.page_table_stride = static_cast<int>(stride);
}

}  // namespace facet
