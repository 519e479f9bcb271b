#include "ops/cli/local_group.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <iterator>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/device_group.h"
#include "worker/group_join.h"
#include "worker/group_leader.h"
#include "worker/model_flags.h"

ABSL_FLAG(int, tp, 1, "Processes that share each model's work and memory (tensor parallelism).");

namespace facet {
namespace {

// Followers of this host are there at once, or not at all.
constexpr int kJoinTimeoutS = 20;

std::string OwnFolder() {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  const std::string file(path, size > 0 ? size : 0);
  return file.substr(0, file.rfind('/'));
}

std::string LeaderOf(const std::string& name) { return absl::StrCat("unix-abstract:", name); }

}  // namespace

absl::StatusOr<std::string> FindProgram(const std::string& name, const std::string& build_folder) {
  const std::string folder = OwnFolder();
  for (const std::string& path : {absl::StrCat(folder, "/", name),
                                  absl::StrCat(folder, "/../../", build_folder, "/", name)}) {
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return absl::NotFoundError(absl::StrCat(name, " is not beside facet in ", folder));
}

int ThreadsForEach(int processes) {
  if (absl::GetFlag(FLAGS_threads) != 0) return absl::GetFlag(FLAGS_threads);
  cpu_set_t set;
  const int processors = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, processors / processes);
}

absl::Status CheckTp() {
  const int tp = absl::GetFlag(FLAGS_tp);
  if (tp >= 1 && tp <= kRanksMax) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--tp=", tp, " is not in [1, ", kRanksMax, "]"));
}

std::vector<std::vector<std::string>> GroupCommands(const std::string& worker_program,
                                                    const std::string& model,
                                                    const std::string& name, int threads,
                                                    const std::vector<std::string>& leader_flags) {
  const int tp = absl::GetFlag(FLAGS_tp);
  std::vector<std::vector<std::string>> commands;
  for (int rank = tp - 1; rank >= 0; --rank) {
    std::vector<std::string>& command = commands.emplace_back();
    command = {worker_program, absl::StrCat("--model=", model)};
    if (rank == 0) absl::c_copy(leader_flags, std::back_inserter(command));
    command.push_back(absl::StrCat("--threads=", threads));
    absl::c_copy(ModelFlagArguments(), std::back_inserter(command));
    if (tp == 1) continue;
    command.push_back(absl::StrCat("--tp_size=", tp));
    command.push_back(absl::StrCat("--tp_rank=", rank));
    command.push_back(absl::StrCat("--tp_leader=", LeaderOf(name)));
    command.push_back(absl::StrCat("--tp_timeout_s=", kJoinTimeoutS));
  }
  return commands;
}

absl::StatusOr<LocalModel> LoadLocalModel() {
  LocalModel local;
  const int tp = absl::GetFlag(FLAGS_tp);
  RETURN_IF_ERROR(CheckTp());
  if (tp == 1) {
    ASSIGN_OR_RETURN(local.model, LoadModelFromFlags());
    return local;
  }
  ASSIGN_OR_RETURN(const std::string path, ModelPath());
  ASSIGN_OR_RETURN(const std::string program, FindProgram("facet-worker", "worker"));
  LoadOptions options = LoadOptionsFromFlags();
  options.threads = ThreadsForEach(tp);
  ASSIGN_OR_RETURN(const auto facts, GroupFacts(path, options, tp));
  const std::string name = absl::StrCat("facet-", getpid());
  std::vector<std::vector<std::string>> commands =
      GroupCommands(program, path, name, options.threads, {});
  commands.pop_back();  // this process leads
  for (std::vector<std::string>& command : commands) {
    local.followers.push_back(std::make_unique<ChildProcess>(std::move(command)));
    RETURN_IF_ERROR(local.followers.back()->BlockingStart().status());
  }
  GroupOptions group;
  group.size = tp;
  group.leader = LeaderOf(name);
  group.timeout = absl::Seconds(kJoinTimeoutS);
  CollectiveOptions collective;
  collective.on_failure = EndWithGroup;
  ASSIGN_OR_RETURN(options.collective, BlockingJoinGroup(group, facts, collective));
  ASSIGN_OR_RETURN(local.model, LoadModel(path, options));
  options.collective = nullptr;
  LeadGroup(local.model);
  return local;
}

}  // namespace facet
