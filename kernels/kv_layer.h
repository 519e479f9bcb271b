#ifndef FACET_KERNELS_KV_LAYER_H_
#define FACET_KERNELS_KV_LAYER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/kv_format.h"

namespace facet {

// Tokens of a KV page. Attention sums in blocks aligned to pages, so this is part of the
// arithmetic.
inline constexpr int kPageTokens = 64;

// What is stored of a token's key and value.
enum class KvForm {
  kPlain,  // both
  // For layers whose keys and values come from one projection (full layers). There
  // key = rope(value * key_norm), and rope turns few dimensions; so the value and the turned
  // dimensions of the key are stored, and a query is multiplied by key_norm in the others.
  kNarrow,
};

// "plain", "narrow". INVALID_ARGUMENT names the flag --kv_form and the names there are.
absl::StatusOr<KvForm> KvFormFromName(absl::string_view name);
absl::string_view NameOf(KvForm form);

// The keys and values of one layer: pages of 64 tokens, of which a sequence's page table names
// some. A page is one piece of memory, [kv_heads, 64, row]; a row is one token's key and value for
// one head, coded in `format`. With D = head_dim and P = turned_pairs, the values of a row are
//
//   plain:   [ key: D )[ value: D )
//   narrow:  [ turned key: 2 P )[ rest of the value: D - 2 P )[ turned part of the value: 2 P )
//
// "Turned" are the dimensions [0, P) and [D/2, D/2 + P), "rest" are [P, D/2) and [D/2 + P, D), in
// this order. So in both forms the first D of a row are scored against a query, and the last D are
// summed up.
struct KvLayer {
  KvFormat format = KvFormat::kF32;
  KvForm form = KvForm::kPlain;
  int kv_heads = 0;
  int head_dim = 0;
  int turned_pairs = 0;             // narrow: rope's pairs
  const float* key_norm = nullptr;  // narrow: device, [head_dim]; outlives the layer's use
  uint8_t* pages = nullptr;         // device, [pages, page_bytes()]

  // Values, and bytes, of one token and head.
  int row_values() const {
    return form == KvForm::kPlain ? 2 * head_dim : head_dim + 2 * turned_pairs;
  }
  int64_t row_bytes() const { return KvBytes(format, row_values()); }
  int64_t page_bytes() const { return row_bytes() * kPageTokens * kv_heads; }

  // Where dimension `d` of a key, not yet multiplied by key_norm if it is not turned, and of a
  // value stands in a row.
  int KeyIndex(int d) const;
  int ValueIndex(int d) const;
  bool Turned(int d) const { return d % (head_dim / 2) < turned_pairs; }
};

// For devices whose memory is the host's. `key`, `value`, `query` are [head_dim]; a query and the
// sum of values are packed as [head_dim] in the order of a row.
void PackKeyValue(const KvLayer& layer, const float* key, const float* value, float* row);
void PackQuery(const KvLayer& layer, const float* query, float* packed);
void UnpackValue(const KvLayer& layer, const float* packed, float* value);

}  // namespace facet

#endif  // FACET_KERNELS_KV_LAYER_H_
