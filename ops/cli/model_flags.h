#ifndef FACET_OPS_CLI_MODEL_FLAGS_H_
#define FACET_OPS_CLI_MODEL_FLAGS_H_

#include <string>

#include "absl/flags/declare.h"
#include "absl/status/statusor.h"
#include "worker/loaded_model.h"

// The flags of every command that runs a model in its own process.
ABSL_DECLARE_FLAG(std::string, model);
ABSL_DECLARE_FLAG(std::string, device);
ABSL_DECLARE_FLAG(int, threads);
ABSL_DECLARE_FLAG(std::string, cpu_path);
ABSL_DECLARE_FLAG(int, kv_cache_mib);
ABSL_DECLARE_FLAG(std::string, kv_format);
ABSL_DECLARE_FLAG(std::string, kv_form);
ABSL_DECLARE_FLAG(int, context_tokens_max);

namespace facet {

inline constexpr char kModelFlagsUsage[] =
    "  --model=PATH            GGUF file, or folder with config.json and safetensors\n"
    "  --threads=N             threads; 0: one for each processor\n"
    "  --device=cpu            where to compute\n"
    "  --cpu_path=auto         instruction set: auto, avx2, avx512\n"
    "  --kv_cache_mib=2048     memory for keys and values\n"
    "  --kv_format=f32         how they are coded: f32, bf16, fp8, q8\n"
    "  --kv_form=plain         of full layers: plain, or narrow (37 % less memory at 12B)\n"
    "  --context_tokens_max=0  longest prompt and answer; 0: the model's, as far as memory "
    "allows\n";

// Checks that --model is given. INVALID_ARGUMENT says what to do.
absl::StatusOr<std::string> ModelPath();

LoadOptions LoadOptionsFromFlags();

// Loads --model with the other flags.
absl::StatusOr<LoadedModel> LoadModelFromFlags();

}  // namespace facet

#endif  // FACET_OPS_CLI_MODEL_FLAGS_H_
