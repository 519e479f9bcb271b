#include "kernels/kv_layer.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace facet {

absl::StatusOr<KvForm> KvFormFromName(absl::string_view name) {
  if (name == "plain") return KvForm::kPlain;
  if (name == "narrow") return KvForm::kNarrow;
  return absl::InvalidArgumentError(
      absl::StrCat("--kv_form=", name, " is not known: plain or narrow"));
}

absl::string_view NameOf(KvForm form) { return form == KvForm::kPlain ? "plain" : "narrow"; }

int KvLayer::KeyIndex(int d) const {
  if (form == KvForm::kPlain) return d;
  if (!Turned(d)) return ValueIndex(d);
  return d < turned_pairs ? d : d - head_dim / 2 + turned_pairs;
}

int KvLayer::ValueIndex(int d) const {
  if (form == KvForm::kPlain) return head_dim + d;
  const bool second_half = d >= head_dim / 2;
  const int within = d - (second_half ? head_dim / 2 : 0);
  if (Turned(d)) return head_dim + within + (second_half ? turned_pairs : 0);
  return turned_pairs + within + (second_half ? head_dim / 2 - turned_pairs : 0);
}

void PackKeyValue(const KvLayer& layer, const float* key, const float* value, float* row) {
  const int head_dim = layer.head_dim, half = head_dim / 2, pairs = layer.turned_pairs;
  if (layer.form == KvForm::kPlain) {
    std::copy_n(value, head_dim, std::copy_n(key, head_dim, row));
    return;
  }
  row = std::copy_n(key, pairs, row);
  row = std::copy_n(key + half, pairs, row);
  row = std::copy_n(value + pairs, half - pairs, row);
  row = std::copy_n(value + half + pairs, half - pairs, row);
  row = std::copy_n(value, pairs, row);
  std::copy_n(value + half, pairs, row);
}

void PackQuery(const KvLayer& layer, const float* query, float* packed) {
  const int head_dim = layer.head_dim, half = head_dim / 2, pairs = layer.turned_pairs;
  if (layer.form == KvForm::kPlain) {
    std::copy_n(query, head_dim, packed);
    return;
  }
  packed = std::copy_n(query, pairs, packed);
  packed = std::copy_n(query + half, pairs, packed);
  for (int d = pairs; d < half; ++d) *packed++ = query[d] * layer.key_norm[d];
  for (int d = half + pairs; d < head_dim; ++d) *packed++ = query[d] * layer.key_norm[d];
}

void UnpackValue(const KvLayer& layer, const float* packed, float* value) {
  const int head_dim = layer.head_dim, half = head_dim / 2, pairs = layer.turned_pairs;
  if (layer.form == KvForm::kPlain) {
    std::copy_n(packed, head_dim, value);
    return;
  }
  const int64_t rest = half - pairs;
  std::copy_n(packed, rest, value + pairs);
  std::copy_n(packed + rest, rest, value + half + pairs);
  std::copy_n(packed + 2 * rest, pairs, value);
  std::copy_n(packed + 2 * rest + pairs, pairs, value + half);
}

}  // namespace facet
