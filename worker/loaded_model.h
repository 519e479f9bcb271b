#ifndef FACET_WORKER_LOADED_MODEL_H_
#define FACET_WORKER_LOADED_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/collective.h"
#include "kernels/device.h"
#include "model/model_file.h"
#include "model/vocabulary.h"
#include "proto/page_event.h"
#include "worker/adapter_registry.h"
#include "worker/device_group.h"
#include "worker/disk_tier.h"
#include "worker/drafter.h"
#include "worker/host_tier.h"
#include "worker/kv_cache.h"
#include "worker/media_embedder.h"
#include "worker/model_runner.h"
#include "worker/peer_source.h"
#include "worker/weights.h"

namespace facet {

// Where cached prefixes go that the device has no room for (tiered_cache.h).
struct TierOptions {
  int64_t host_bytes = 0;   // 0: no host memory
  std::string disk_folder;  // empty: no disk
  int64_t disk_bytes = 0;
};

struct LoadOptions {
  std::string device = "cpu";
  int threads = 0;                // 0: one for each processor this process may use
  std::string cpu_path = "auto";  // instruction set of the CPU device
  std::string kv_format = "f32";  // of keys and values: f32, bf16, fp8, q8
  std::string kv_form = "plain";  // of full layers: plain, narrow
  KvPlanOptions kv;               // its layout comes from the two above
  TierOptions tiers;
  AdapterLimits adapters;
  std::string mmproj;     // file of the embedders of images and sounds; empty: the model's own
  std::string assistant;  // file or folder of the model's drafter; empty: none
  int drafts_max = 3;     // tokens that it may draft for one request in a step
  // The tensor-parallel group that the model is split in; null: it is whole. Shared with whoever
  // made it.
  std::shared_ptr<Collective> collective;
};

// A model ready to run on one device: everything an engine or a scorer stands on, in the order in
// which it depends on each other. Owned by who uses it; not thread-safe beyond its const parts.
struct LoadedModel {
  std::unique_ptr<ModelFile> file;
  std::shared_ptr<const Vocabulary> vocabulary;  // shared with the engine's callers; null if the
                                                 // file has no tokenizer
  std::shared_ptr<Collective> collective;        // of the group, or of this process alone
  std::unique_ptr<Device> device;
  std::unique_ptr<DeviceGroup> group;
  std::unique_ptr<Weights> weights;
  std::unique_ptr<AdapterRegistry> adapters;
  std::unique_ptr<KvCache> cache;
  std::unique_ptr<HostTier> host_tier;      // may be null
  std::unique_ptr<DiskTier> disk_tier;      // may be null
  std::unique_ptr<ModelFile> mmproj_file;   // null if the model's own file holds the embedders
  std::unique_ptr<MediaEmbedder> embedder;  // null if there are none
  std::unique_ptr<ModelRunner> runner;
  // Null without an assistant.
  std::unique_ptr<ModelFile> assistant_file;
  std::unique_ptr<AssistantWeights> assistant_weights;
  std::unique_ptr<Drafter> drafter;

  int running_requests_max = 0;  // that it has room for in one step
  int step_tokens_max = 0;       // rows of one step, unless an image needs more

  // Of the whole model.
  const TextConfig& config() const { return weights->shard.whole; }
  // "cpu f32 2, kv bf16 narrow", and in a group of two "..., tp 2": workers of equal names give
  // equal results bit for bit, and may read each other's pages.
  std::string numerics_class() const;
  // Of pages on disk and of those that other workers may pull. Reads samples of the weights.
  PageFormat page_format() const;
  // Tells `observer` of each page of a cached prefix that is there now, and of those that come and
  // go later, in all tiers. On the engine's and the disk tier's threads: only enqueue. Call it
  // once, before the engine starts.
  void ObservePages(const std::function<void(const PageEvent&)>& observer);
};

// SHA-256 over what each tensor begins with, 32 bytes: tells two trainings of one form apart, of
// which the model digest says nothing, and reads a few MB only.
std::string WeightSampleDigest(const ModelFile& file);

// Maps the file and plans and takes the KV memory; weights come in as they are touched. Errors name
// the file, tensor, key or flag.
absl::StatusOr<LoadedModel> LoadModel(const std::string& path, const LoadOptions& options);

}  // namespace facet

#endif  // FACET_WORKER_LOADED_MODEL_H_
