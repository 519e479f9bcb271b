#include "worker/loaded_model.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cuda/cuda_device.h"
#include "proto/page_key.h"

namespace facet {
namespace {

// Rows of one step that drafts may take beside those of the requests themselves: each costs a row
// of logits, and with more rows than this a step is no longer bound by reading the weights.
constexpr int kDraftRowsMax = 64;
constexpr int kDraftsMax = 15;

absl::StatusOr<std::unique_ptr<Device>> MakeDevice(const LoadOptions& options) {
  if (options.device == "cpu") return MakeCpuDevice({options.threads, options.cpu_path});
  absl::string_view number = options.device;
  int index = 0;
  if (absl::ConsumePrefix(&number, "cuda:") && absl::SimpleAtoi(number, &index)) {
    return MakeCudaDevice(index);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--device=", options.device, " is not known: cpu, or cuda:0 for the first GPU"));
}

ModelRunnerOptions RunnerOptions(const LoadOptions& options, const LoadedModel& model) {
  ModelRunnerOptions runner;
  runner.output_rows_max = options.kv.running_requests_max;
  if (!options.assistant.empty()) {
    runner.output_rows_max +=
        std::min(kDraftRowsMax, options.kv.running_requests_max * options.drafts_max);
  }
  runner.rows_max = options.kv.step_tokens_max;
  if (model.embedder != nullptr && model.embedder->limits().images) {
    // An image goes in one step, beside whatever decodes.
    runner.rows_max = std::max(runner.rows_max, kImageTokensMax + runner.output_rows_max);
  }
  if (model.vocabulary == nullptr) return runner;
  const Vocabulary::Roles& roles = model.vocabulary->roles();
  for (const std::optional<int> id : {roles.image, roles.audio, roles.video}) {
    if (id) runner.placeholder_ids.push_back(*id);
  }
  runner.pad_id = roles.pad.value_or(0);
  return runner;
}

absl::Status LoadEmbedder(const std::string& mmproj, LoadedModel& model) {
  const ModelFile* file = model.file.get();
  if (!mmproj.empty()) {
    ASSIGN_OR_RETURN(model.mmproj_file, ModelFile::Open(mmproj));
    file = model.mmproj_file.get();
  }
  ASSIGN_OR_RETURN(model.embedder,
                   MediaEmbedder::Make(*file, model.config().hidden_size, model.device.get()));
  if (!mmproj.empty() && model.embedder == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("--mmproj=", mmproj, " holds no embedder of images or sounds"));
  }
  return absl::OkStatus();
}

absl::Status LoadAssistant(const LoadOptions& options, LoadedModel& model) {
  if (options.drafts_max < 1 || options.drafts_max > kDraftsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--drafts_max=", options.drafts_max, " is not in [1, ", kDraftsMax, "]"));
  }
  ASSIGN_OR_RETURN(model.assistant_file, ModelFile::Open(options.assistant));
  ASSIGN_OR_RETURN(
      AssistantWeights weights,
      LoadAssistantWeights(*model.assistant_file, model.weights->shard, *model.device));
  model.assistant_weights = std::make_unique<AssistantWeights>(std::move(weights));
  DrafterOptions drafter;
  drafter.rows_max = options.kv.running_requests_max;
  drafter.drafts_max = options.drafts_max;
  if (model.vocabulary != nullptr) {
    const std::vector<int>& suppressed = model.vocabulary->suppressed_ids();
    drafter.suppressed_ids.assign(suppressed.begin(), suppressed.end());
  }
  ASSIGN_OR_RETURN(model.drafter, Drafter::Make(model.assistant_weights.get(), model.weights.get(),
                                                model.cache.get(), model.device.get(),
                                                model.group.get(), drafter));
  return absl::OkStatus();
}

constexpr size_t kSampleBytes = 4096;

absl::Status AddTiers(const TierOptions& options, LoadedModel& model) {
  if (options.host_bytes < 0 || options.disk_bytes < 0) {
    return absl::InvalidArgumentError("--host_tier_bytes and --disk_tier_bytes must be at least 0");
  }
  if (options.host_bytes == 0 && !options.disk_folder.empty()) {
    return absl::InvalidArgumentError(
        "disk_tier_dir needs host memory, where its pages arrive: raise host_tier_bytes");
  }
  // Followers hold no pages but the device's: the leader says which go where.
  if (options.host_bytes == 0 || model.group->rank() != 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(model.host_tier,
                   HostTier::Make(model.cache->host_plan(), model.config().sliding_window_tokens,
                                  options.host_bytes));
  if (options.disk_folder.empty()) return absl::OkStatus();
  DiskTierOptions disk;
  disk.folder = options.disk_folder;
  const PageFormat format = model.page_format();
  disk.label = format.label;
  disk.bytes_max = options.disk_bytes;
  absl::c_copy(format.page_bytes, disk.page_bytes);
  model.disk_tier = std::make_unique<DiskTier>(disk);
  return absl::OkStatus();
}

}  // namespace

std::string WeightSampleDigest(const ModelFile& file) {
  std::string samples;
  for (const Tensor& tensor : file.tensors()) {
    const absl::string_view sample = tensor.data.substr(0, kSampleBytes);
    samples.append(sample.data(), sample.size());
  }
  return Sha256({samples});
}

void LoadedModel::ObservePages(const std::function<void(const PageEvent&)>& observer) {
  const auto tell = [observer](PageTier tier) {
    return [observer, tier](KvPool pool, const PageKey& key, bool stored) {
      observer({key, pool == KvPool::kSliding, tier, stored});
    };
  };
  cache->pages().SetObserver(tell(PageTier::kDevice));
  if (host_tier != nullptr) host_tier->slots().SetObserver(tell(PageTier::kHost));
  if (disk_tier == nullptr) return;
  disk_tier->SetObserver([tell_disk = tell(PageTier::kDisk)](const PoolKey& page, bool stored) {
    tell_disk(page.first, page.second, stored);
  });
}

std::string LoadedModel::numerics_class() const {
  const KvLayout& layout = cache->plan().layout;
  std::string name = absl::StrCat(device->numerics_class(), ", kv ", NameOf(layout.format), " ",
                                  NameOf(layout.form));
  if (group->size() > 1) absl::StrAppend(&name, ", tp ", group->size());
  return name;
}

PageFormat LoadedModel::page_format() const {
  PageFormat format;
  for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
    format.page_bytes[static_cast<int>(pool)] = cache->page_bytes(pool);
  }
  format.label = absl::StrCat("model ", absl::BytesToHexString(ModelDigest(*file)), ", weights ",
                              absl::BytesToHexString(WeightSampleDigest(*file)), ", class ",
                              numerics_class(), ", key ", kPageKeyVersion, ", page bytes ",
                              format.page_bytes[0], " and ", format.page_bytes[1]);
  return format;
}

absl::StatusOr<LoadedModel> LoadModel(const std::string& path, const LoadOptions& options) {
  LoadedModel model;
  model.running_requests_max = options.kv.running_requests_max;
  model.step_tokens_max = options.kv.step_tokens_max;
  ASSIGN_OR_RETURN(model.file, ModelFile::Open(path));
  if (model.file->metadata().Has("tokenizer.ggml.tokens")) {
    ASSIGN_OR_RETURN(model.vocabulary, Vocabulary::FromMetadata(model.file->metadata()));
  }
  ASSIGN_OR_RETURN(model.device, MakeDevice(options));
  model.collective = options.collective != nullptr ? options.collective : MakeLoneCollective();
  model.group = std::make_unique<DeviceGroup>(model.collective.get(), model.device.get());
  ASSIGN_OR_RETURN(Weights weights, LoadWeights(*model.file, *model.device, model.group->rank(),
                                                model.group->size()));
  model.weights = std::make_unique<Weights>(std::move(weights));
  if (options.adapters.adapters_max < 0 || options.adapters.bytes_max < 0) {
    return absl::InvalidArgumentError("--adapters_max and --adapter_bytes_max must be at least 0");
  }
  model.adapters = std::make_unique<AdapterRegistry>(&model.weights->shard, model.device.get(),
                                                     options.adapters);
  RETURN_IF_ERROR(LoadEmbedder(options.mmproj, model));
  const ModelRunnerOptions runner = RunnerOptions(options, model);
  KvPlanOptions kv = options.kv;
  kv.step_tokens_max = runner.rows_max;
  ASSIGN_OR_RETURN(kv.layout.format, KvFormatFromName(options.kv_format));
  ASSIGN_OR_RETURN(kv.layout.form, KvFormFromName(options.kv_form));
  kv.layout.full_rope_pairs = FullRopePairs(*model.weights);
  ASSIGN_OR_RETURN(const KvPlan plan, PlanKv(model.weights->config, kv));
  std::vector<const float*> key_norms;
  for (const LayerWeights& layer : model.weights->layers) key_norms.push_back(layer.key_norm);
  ASSIGN_OR_RETURN(KvCache cache,
                   KvCache::Make(model.weights->config, plan, *model.device, key_norms));
  model.cache = std::make_unique<KvCache>(std::move(cache));
  model.cache->SetGroup(model.group.get());
  RETURN_IF_ERROR(AddTiers(options.tiers, model));
  ASSIGN_OR_RETURN(model.runner,
                   ModelRunner::Make(model.weights.get(), model.cache.get(), model.device.get(),
                                     model.group.get(), model.embedder.get(), runner));
  if (!options.assistant.empty()) RETURN_IF_ERROR(LoadAssistant(options, model));
  return model;
}

}  // namespace facet
