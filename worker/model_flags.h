#ifndef FACET_WORKER_MODEL_FLAGS_H_
#define FACET_WORKER_MODEL_FLAGS_H_

#include <string>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/status/statusor.h"
#include "worker/loaded_model.h"

// The flags of everything that loads a model: facet-worker, and the commands that run a model in
// their own process. Those that no other file needs to look at are not declared here.
ABSL_DECLARE_FLAG(std::string, model);
ABSL_DECLARE_FLAG(int, threads);

namespace facet {

inline constexpr char kModelFlagsUsage[] =
    "  --model=PATH            GGUF file, or folder with config.json and safetensors\n"
    "  --mmproj=PATH           projector of images and sounds, if the model's file holds none\n"
    "  --assistant=PATH        the model's drafter, for several tokens a step\n"
    "  --drafts_max=3          tokens that it may draft for one request in a step\n"
    "  --threads=N             threads; 0: one for each processor\n"
    "  --device=cpu            where to compute\n"
    "  --cpu_path=auto         instruction set: auto, avx2, avx512\n"
    "  --kv_cache_mib=2048     memory for keys and values\n"
    "  --kv_format=f32         how they are coded: f32, bf16, fp8, q8\n"
    "  --kv_form=plain         of full layers: plain, or narrow (37 % less memory at 12B)\n"
    "  --adapters_max=16       LoRA adapters that may be loaded at once\n"
    "  --adapter_bytes_max=N   memory for their weights, 1 GiB if not given\n"
    "  --context_tokens_max=0  longest prompt and answer; 0: the model's, as far as memory "
    "allows\n";

// Checks that --model is given. INVALID_ARGUMENT says what to do.
absl::StatusOr<std::string> ModelPath();

LoadOptions LoadOptionsFromFlags();

// Loads --model with the other flags.
absl::StatusOr<LoadedModel> LoadModelFromFlags();

// The same flags but --model and --threads, as the command line of a child process that loads the
// model: "--device=cpu", ...
std::vector<std::string> ModelFlagArguments();

}  // namespace facet

#endif  // FACET_WORKER_MODEL_FLAGS_H_
