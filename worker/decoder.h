#ifndef FACET_WORKER_DECODER_H_
#define FACET_WORKER_DECODER_H_

#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "model/config.h"
#include "worker/adapter_rows.h"
#include "worker/attention_rows.h"
#include "worker/device_array.h"
#include "worker/device_group.h"
#include "worker/weights.h"

namespace facet {

// The decoder layer of Gemma 4: its operations in order (modeling_gemma4_unified.py,
// Gemma4UnifiedDecoderLayer.forward), and the activations that they pass to each other. The target
// and the drafter each have one. `device` must outlive it. Used by one thread, the engine's.
class Decoder {
 public:
  // `config`: of this rank's part; `group` computes the whole, and must outlive it too.
  static absl::StatusOr<Decoder> Make(const TextConfig& config, int rows_max, Device* device,
                                      DeviceGroup* group);

  // The residual stream: device, [rows_max, hidden size].
  float* hidden() const { return hidden_.data(); }

  // Which layer of its adapters a layer's products are changed by; none in a drafter.
  struct Change {
    AdapterRows* adapters = nullptr;
    int layer = 0;
  };

  // Runs one layer over the first `rows` rows of the residual stream. Keys and values of these rows
  // are written into `kv`; a layer without key weights, a drafter's, only reads what is there.
  void RunLayer(const LayerWeights& weights, const LayerConfig& layer,
                const AttentionRows& attention, const KvLayer& kv, int rows, const Change& change);

 private:
  Decoder(const TextConfig& config, Device* device, DeviceGroup* group)
      : config_(config), device_(device), group_(group) {}
  void RunAttention(const LayerWeights& weights, const LayerConfig& layer,
                    const AttentionRows& attention, const KvLayer& kv, int rows,
                    const Change& change);
  void RunFeedForward(const LayerWeights& weights, int rows, const Change& change);
  // out = x * weight^T, and what adapters change of it.
  void Project(const float* x, const Weight& weight, AdapterMatrix matrix, const Change& change,
               int rows, float* out);

  TextConfig config_;
  Device* device_;
  DeviceGroup* group_;
  DeviceArray<float> hidden_, normed_, update_;  // [rows_max, H]
  DeviceArray<float> query_, attended_;          // [rows_max, widest query]
  DeviceArray<float> key_, value_;               // [rows_max, widest key]
  DeviceArray<float> gate_, up_;                 // [rows_max, feed forward]
};

}  // namespace facet

#endif  // FACET_WORKER_DECODER_H_
