#ifndef FACET_MODEL_ADAPTER_CONFIG_H_
#define FACET_MODEL_ADAPTER_CONFIG_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// The rank of an adapter that is taken at most; published ones have 4 to 256.
inline constexpr int kAdapterRankMax = 512;

// What an adapter_config.json says of every change y += scale * B (A x) that the adapter makes.
struct AdapterConfig {
  int rank = 0;     // [1, kAdapterRankMax]
  float scale = 0;  // lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora
};

// Reads the text of PEFT's adapter_config.json. INVALID_ARGUMENT names the field that is wrong, or
// that asks for more than that change: DoRA, biases, modules that were trained whole, ranks that
// differ, modules other than the seven projections of a decoder layer.
absl::StatusOr<AdapterConfig> ParseAdapterConfig(absl::string_view text);

// Whether PEFT calls a module of a decoder layer so and an adapter may change it: "q_proj".
bool IsAdapterModule(absl::string_view name);

}  // namespace facet

#endif  // FACET_MODEL_ADAPTER_CONFIG_H_
