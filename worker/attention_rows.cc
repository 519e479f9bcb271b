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

}  // namespace

absl::StatusOr<AttentionRows> AttentionRows::Make(const Weights& weights, bool sliding,
                                                  int rows_max, Device* device) {
  AttentionRows made(sliding, device);
  made.inverse_frequencies_ = InverseFrequencies(weights, sliding);
  const size_t pairs = made.inverse_frequencies_.size();
  for (DeviceArray<int32_t>* array :
       {&made.position_, &made.sequence_, &made.first_key_, &made.last_key_}) {
    ASSIGN_OR_RETURN(*array, DeviceArray<int32_t>::Make(*device, rows_max));
  }
  for (DeviceArray<float>* array : {&made.cosines_, &made.sines_}) {
    ASSIGN_OR_RETURN(*array, DeviceArray<float>::Make(*device, int64_t{rows_max} * pairs));
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
  position_.Upload(rows.position);
  sequence_.Upload(rows.sequence);
  first_key_.Upload(rows.first_key);
  last_key_.Upload(rows.last_key);
  cosines_.Upload(cosines);
  sines_.Upload(sines);
  SetPageTables(rows.tables);
  rows_.rows = static_cast<int>(count);
  rows_.position = position_.data();
  rows_.sequence = sequence_.data();
  rows_.first_key = first_key_.data();
  rows_.last_key = last_key_.data();
  rope_ = {cosines_.data(), sines_.data(), static_cast<int>(pairs)};
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
  if (page_tables_.size() < static_cast<int64_t>(all.size())) {
    absl::StatusOr<DeviceArray<int32_t>> larger =
        DeviceArray<int32_t>::Make(*device_, static_cast<int64_t>(all.size()));
    CHECK_OK(larger);
    page_tables_ = *std::move(larger);
  }
  page_tables_.Upload(all);
  rows_.page_tables = page_tables_.data();
  rows_.page_table_stride = static_cast<int>(stride);
}

}  // namespace facet
