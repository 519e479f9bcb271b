#include "worker/model_flags.h"

#include <cstdint>

#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

ABSL_FLAG(std::string, model, "", "GGUF file, or folder with config.json and safetensors.");
ABSL_FLAG(std::string, mmproj, "",
          "Projector of images and sounds, a GGUF file; empty: the model's own file holds it.");
ABSL_FLAG(std::string, assistant, "", "The model's drafter, a file or folder; empty: none.");
ABSL_FLAG(int, drafts_max, 3, "Tokens that the drafter may guess for one request in a step.");
ABSL_FLAG(std::string, device, "cpu", "Where to compute: cpu, or cuda:0 for the first GPU.");
ABSL_FLAG(int, threads, 0, "Threads of the CPU device; 0: one for each processor.");
ABSL_FLAG(std::string, cpu_path, "auto", "Instruction set of the CPU device: auto, avx2, avx512.");
ABSL_FLAG(int, kv_cache_mib, 2048, "Memory for keys and values.");
ABSL_FLAG(std::string, kv_format, "f32", "How keys and values are coded: f32, bf16, fp8, q8.");
ABSL_FLAG(
    std::string, kv_form, "plain",
    "What full layers store of a token: plain (key and value) or narrow (value and the turned "
    "part of the key).");
ABSL_FLAG(int64_t, host_tier_bytes, int64_t{1} << 30,
          "Host memory for cached prefixes that the device has no room for; 0: none.");
ABSL_FLAG(std::string, disk_tier_dir, "",
          "Folder for cached prefixes, found again after a restart; empty: none.");
ABSL_FLAG(int64_t, disk_tier_bytes, int64_t{16} << 30, "The most that --disk_tier_dir holds.");
ABSL_FLAG(int, adapters_max, 16, "LoRA adapters that may be loaded at once.");
ABSL_FLAG(int64_t, adapter_bytes_max, int64_t{1} << 30, "Memory for their weights.");
ABSL_FLAG(int, context_tokens_max, 0, "Longest prompt and answer; 0: the model's, if it fits.");

namespace facet {

absl::StatusOr<std::string> ModelPath() {
  std::string path = absl::GetFlag(FLAGS_model);
  if (path.empty()) {
    return absl::InvalidArgumentError("--model is missing: name a GGUF file or a model folder");
  }
  return path;
}

LoadOptions LoadOptionsFromFlags() {
  LoadOptions options;
  options.device = absl::GetFlag(FLAGS_device);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.cpu_path = absl::GetFlag(FLAGS_cpu_path);
  options.kv_format = absl::GetFlag(FLAGS_kv_format);
  options.kv_form = absl::GetFlag(FLAGS_kv_form);
  options.kv.memory_bytes = int64_t{absl::GetFlag(FLAGS_kv_cache_mib)} << 20;
  options.kv.context_tokens_max = absl::GetFlag(FLAGS_context_tokens_max);
  options.tiers = {absl::GetFlag(FLAGS_host_tier_bytes), absl::GetFlag(FLAGS_disk_tier_dir),
                   absl::GetFlag(FLAGS_disk_tier_bytes)};
  options.adapters = {absl::GetFlag(FLAGS_adapters_max), absl::GetFlag(FLAGS_adapter_bytes_max)};
  options.mmproj = absl::GetFlag(FLAGS_mmproj);
  options.assistant = absl::GetFlag(FLAGS_assistant);
  options.drafts_max = absl::GetFlag(FLAGS_drafts_max);
  return options;
}

absl::StatusOr<LoadedModel> LoadModelFromFlags() {
  ASSIGN_OR_RETURN(const std::string path, ModelPath());
  return LoadModel(path, LoadOptionsFromFlags());
}

std::vector<std::string> ModelFlagArguments() {
  std::vector<std::string> arguments;
  for (const absl::string_view name :
       {"mmproj", "assistant", "drafts_max", "device", "cpu_path", "kv_cache_mib", "kv_format",
        "kv_form", "adapters_max", "adapter_bytes_max", "context_tokens_max"}) {
    arguments.push_back(
        absl::StrCat("--", name, "=", absl::FindCommandLineFlag(name)->CurrentValue()));
  }
  return arguments;
}

}  // namespace facet
