#include "worker/loaded_model.h"

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/cpu/cpu_device.h"

namespace facet {
namespace {

absl::StatusOr<std::unique_ptr<Device>> MakeDevice(const LoadOptions& options) {
  if (options.device == "cpu") return MakeCpuDevice({options.threads, options.cpu_path});
  return absl::InvalidArgumentError(
      absl::StrCat("--device=", options.device, " is not known to this build; it has: cpu"));
}

ModelRunnerOptions RunnerOptions(const LoadOptions& options, const Vocabulary* vocabulary) {
  ModelRunnerOptions runner;
  runner.rows_max = options.kv.step_tokens_max;
  runner.output_rows_max = options.kv.running_requests_max;
  if (vocabulary == nullptr) return runner;
  const Vocabulary::Roles& roles = vocabulary->roles();
  for (const std::optional<int> id : {roles.image, roles.audio, roles.video}) {
    if (id) runner.placeholder_ids.push_back(*id);
  }
  runner.pad_id = roles.pad.value_or(0);
  return runner;
}

}  // namespace

absl::StatusOr<LoadedModel> LoadModel(const std::string& path, const LoadOptions& options) {
  LoadedModel model;
  ASSIGN_OR_RETURN(model.file, ModelFile::Open(path));
  if (model.file->metadata().Has("tokenizer.ggml.tokens")) {
    ASSIGN_OR_RETURN(model.vocabulary, Vocabulary::FromMetadata(model.file->metadata()));
  }
  ASSIGN_OR_RETURN(model.device, MakeDevice(options));
  ASSIGN_OR_RETURN(Weights weights, LoadWeights(*model.file, *model.device));
  model.weights = std::make_unique<Weights>(std::move(weights));
  ASSIGN_OR_RETURN(const KvPlan plan, PlanKv(model.config(), options.kv));
  ASSIGN_OR_RETURN(KvCache cache, KvCache::Make(model.config(), plan, *model.device));
  model.cache = std::make_unique<KvCache>(std::move(cache));
  ASSIGN_OR_RETURN(model.runner,
                   ModelRunner::Make(model.weights.get(), model.cache.get(), model.device.get(),
                                     RunnerOptions(options, model.vocabulary.get())));
  return model;
}

}  // namespace facet
