#include "ops/cli/adapter_flag.h"

#include <string>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

ABSL_FLAG(std::string, adapter, "",
          "LoRA adapter that every request uses, a PEFT folder or a GGUF file; empty: none.");

namespace facet {

absl::StatusOr<std::shared_ptr<const Adapter>> BlockingLoadAdapterFromFlag(LoadedModel& model) {
  const std::string path = absl::GetFlag(FLAGS_adapter);
  if (path.empty()) return std::shared_ptr<const Adapter>();
  constexpr char kName[] = "adapter";
  const absl::Status status = model.adapters->BlockingLoad(kName, path);
  if (status.ok()) return model.adapters->Find(kName);
  return absl::Status(status.code(), absl::StrCat("--adapter: ", status.message()));
}

}  // namespace facet
