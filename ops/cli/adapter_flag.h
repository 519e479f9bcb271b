#ifndef FACET_OPS_CLI_ADAPTER_FLAG_H_
#define FACET_OPS_CLI_ADAPTER_FLAG_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/adapter.h"
#include "worker/loaded_model.h"

namespace facet {

// What --adapter names, of commands that run a model in their own process; null without it. The
// model holds it under its name, so requests may ask for it. Errors name the flag and the file.
absl::StatusOr<std::shared_ptr<const Adapter>> BlockingLoadAdapterFromFlag(LoadedModel& model);

}  // namespace facet

#endif  // FACET_OPS_CLI_ADAPTER_FLAG_H_
