#ifndef FACET_OPS_CLI_LOCAL_GROUP_H_
#define FACET_OPS_CLI_LOCAL_GROUP_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ops/cli/child_process.h"
#include "worker/loaded_model.h"

ABSL_DECLARE_FLAG(int, tp);

namespace facet {

// Of a program that is installed beside this one, or where the build puts it.
absl::StatusOr<std::string> FindProgram(const std::string& name, const std::string& build_folder);

// --threads for each of `processes` of this machine that compute at once; those that it has are
// shared out if the flag gives none.
int ThreadsForEach(int processes);

// INVALID_ARGUMENT: --tp is out of range.
absl::Status CheckTp();

// The command lines of the workers that serve `model` together: the followers, then the leader,
// which gets `leader_flags` too. One of them if --tp is 1. `name`: of the group, on this host.
std::vector<std::vector<std::string>> GroupCommands(const std::string& worker_program,
                                                    const std::string& model,
                                                    const std::string& name, int threads,
                                                    const std::vector<std::string>& leader_flags);

// A model that this process runs, with --tp of them as the leader of its followers, which end with
// it. For one thread.
struct LocalModel {
  std::vector<std::unique_ptr<ChildProcess>> followers;
  LoadedModel model;
};

// Loads --model with the other flags.
absl::StatusOr<LocalModel> LoadLocalModel();

}  // namespace facet

#endif  // FACET_OPS_CLI_LOCAL_GROUP_H_
