#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "model/json.h"
#include "model/model_file.h"
#include "ops/cli/child_process.h"
#include "ops/cli/command.h"
#include "ops/cli/free_port.h"
#include "ops/cli/local_group.h"
#include "worker/model_flags.h"

ABSL_FLAG(int, workers, 1, "Worker processes.");
ABSL_FLAG(std::string, host, "127.0.0.1", "Address that clients reach; 0.0.0.0 for all.");
ABSL_FLAG(int, port, 9379, "HTTP port; 0 lets the kernel pick.");
ABSL_FLAG(int, grpc_port, 9380, "gRPC port; 0 lets the kernel pick.");
ABSL_FLAG(int, worker_port, 9381, "gRPC port of the first worker; 0 lets the kernel pick.");
ABSL_FLAG(int, worker_metrics_port, 9391,
          "HTTP port of the first worker's /metrics; 0 lets the kernel pick, -1: none.");
ABSL_FLAG(std::string, allowed_origins, "", "Origins that browsers may call from, or *.");
ABSL_FLAG(std::string, adapter_dir, "", "LoRA adapters, each a folder or GGUF file.");
ABSL_FLAG(bool, allow_adapter_loading, false, "Whether clients may load and unload adapters.");
ABSL_FLAG(std::string, tenants, "",
          "JSON file of who may use it, and how much (router/README.md).");
ABSL_FLAG(std::string, response_dir, "", "Keeps what previous_response_id goes on from.");

namespace facet {
namespace {

constexpr int kWorkersMax = 64;
constexpr absl::Duration kBackoffMin = absl::Milliseconds(500);
constexpr absl::Duration kBackoffMax = absl::Seconds(30);
// One that ran this long was well; its next failure starts the backoff anew.
constexpr absl::Duration kHealthyRun = absl::Minutes(1);

absl::StatusOr<int> PortIn(const std::string& ready_line, absl::string_view name) {
  ASSIGN_OR_RETURN(const boost::json::value ready, ParseJson(ready_line, "ready line"));
  const boost::json::value* port =
      ready.is_object() ? ready.get_object().if_contains({name.data(), name.size()}) : nullptr;
  if (port == nullptr || !port->is_int64()) {
    return absl::InternalError(absl::StrCat("no ", name, " in '", ready_line, "'"));
  }
  return static_cast<int>(port->get_int64());
}

// A child and when to start it again. A worker may be a tensor-parallel group: its followers, then
// its leader, started in this order and all ended when one of them ends.
struct Supervised {
  std::vector<std::unique_ptr<ChildProcess>> processes;
  ChildProcess& leader() { return *processes.back(); }
  // Gives back the leader's first line.
  absl::StatusOr<std::string> BlockingStart();
  void BlockingKill();
  bool Reap(pid_t pid);

  absl::Time started;
  absl::Time restart_at = absl::InfiniteFuture();
  absl::Duration backoff = kBackoffMin;
};

absl::StatusOr<std::string> Supervised::BlockingStart() {
  started = absl::Now();
  for (size_t i = 0; i + 1 < processes.size(); ++i) {
    RETURN_IF_ERROR(processes[i]->BlockingStart().status());
  }
  absl::StatusOr<std::string> ready = leader().BlockingStart();
  if (!ready.ok()) BlockingKill();
  return ready;
}

void Supervised::BlockingKill() {
  for (auto& process : processes) {
    process->Kill();
    process->BlockingWait();
  }
}

bool Supervised::Reap(pid_t pid) {
  const bool own = absl::c_any_of(processes, [pid](auto& process) { return process->Reap(pid); });
  if (own) BlockingKill();
  return own;
}

class Cluster {
 public:
  ~Cluster() { Stop(); }
  absl::Status Start(const std::string& model);
  // Until SIGTERM or SIGINT; starts again what dies.
  void Supervise();
  void Stop();

 private:
  // Of the commands, the last is the one whose first line is given back.
  absl::StatusOr<std::string> StartChild(std::vector<std::vector<std::string>> commands);
  void Reap();
  void RestartDue();
  absl::Duration UntilNextRestart() const;

  std::vector<Supervised> children_;  // the workers, then the router
};

absl::StatusOr<std::string> Cluster::StartChild(std::vector<std::vector<std::string>> commands) {
  Supervised& child = children_.emplace_back();
  for (std::vector<std::string>& command : commands) {
    child.processes.push_back(std::make_unique<ChildProcess>(std::move(command)));
  }
  return child.BlockingStart();
}

absl::Status Cluster::Start(const std::string& model) {
  const int workers = absl::GetFlag(FLAGS_workers);
  if (workers < 1 || workers > kWorkersMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--workers=", workers, " is not in [1, ", kWorkersMax, "]"));
  }
  ASSIGN_OR_RETURN(const std::string worker_program, FindProgram("facet-worker", "worker"));
  ASSIGN_OR_RETURN(const std::string router_program, FindProgram("facet-router", "router"));
  std::vector<std::string> addresses;
  for (int i = 0; i < workers; ++i) {
    const int port = absl::GetFlag(FLAGS_worker_port);
    const int metrics_port = absl::GetFlag(FLAGS_worker_metrics_port);
    ASSIGN_OR_RETURN(
        const std::string ready,
        StartChild(GroupCommands(
            worker_program, model, absl::StrCat("facet-", getpid(), "-", i),
            ThreadsForEach(workers * absl::GetFlag(FLAGS_tp)),
            {absl::StrCat("--port=", port == 0 ? 0 : port + i),
             absl::StrCat("--metrics_port=", metrics_port <= 0 ? metrics_port : metrics_port + i),
             absl::StrCat("--adapter_dir=", absl::GetFlag(FLAGS_adapter_dir))})));
    ASSIGN_OR_RETURN(const int bound, PortIn(ready, "grpc_port"));
    // The router knows it by this port, so it comes back under the same.
    children_.back().leader().arguments()[2] = absl::StrCat("--port=", bound);
    addresses.push_back(absl::StrCat("127.0.0.1:", bound));
  }
  ASSIGN_OR_RETURN(
      const std::string ready,
      StartChild({{router_program, absl::StrCat("--workers=", absl::StrJoin(addresses, ",")),
                   absl::StrCat("--host=", absl::GetFlag(FLAGS_host)),
                   absl::StrCat("--port=", absl::GetFlag(FLAGS_port)),
                   absl::StrCat("--grpc_port=", absl::GetFlag(FLAGS_grpc_port)),
                   absl::StrCat("--allowed_origins=", absl::GetFlag(FLAGS_allowed_origins)),
                   absl::StrCat("--adapter_dir=", absl::GetFlag(FLAGS_adapter_dir)),
                   absl::StrCat("--allow_adapter_loading=",
                                absl::GetFlag(FLAGS_allow_adapter_loading) ? "true" : "false"),
                   absl::StrCat("--tenants=", absl::GetFlag(FLAGS_tenants)),
                   absl::StrCat("--response_dir=", absl::GetFlag(FLAGS_response_dir))}}));
  ASSIGN_OR_RETURN(const int http_port, PortIn(ready, "http_port"));
  ASSIGN_OR_RETURN(const int grpc_port, PortIn(ready, "grpc_port"));
  const std::string host =
      absl::GetFlag(FLAGS_host) == "0.0.0.0" ? "127.0.0.1" : absl::GetFlag(FLAGS_host);
  children_.back().leader().arguments()[3] = absl::StrCat("--port=", http_port);
  children_.back().leader().arguments()[4] = absl::StrCat("--grpc_port=", grpc_port);
  std::printf(
      "\nFacet serves %s on http://%s:%d (gRPC %d), with %d worker%s. Try:\n\n"
      "  curl -N http://%s:%d/v1/chat/completions -H 'Content-Type: application/json' \\\n"
      "    -d '{\"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"What is 17 + "
      "25?\"}]}'\n\nCtrl-C stops it.\n",
      model.c_str(), host.c_str(), http_port, grpc_port, workers, workers == 1 ? "" : "s",
      host.c_str(), http_port);
  std::fflush(stdout);
  return absl::OkStatus();
}

void Cluster::Supervise() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&signals, signal);
  while (true) {
    const timespec wait = absl::ToTimespec(UntilNextRestart());
    const int signal = sigtimedwait(&signals, nullptr, &wait);
    if (signal == SIGTERM || signal == SIGINT) return;
    Reap();
    RestartDue();
  }
}

absl::Duration Cluster::UntilNextRestart() const {
  absl::Time next = absl::Now() + absl::Minutes(1);
  for (const Supervised& child : children_) next = std::min(next, child.restart_at);
  return std::max(next - absl::Now(), absl::ZeroDuration());
}

void Cluster::Reap() {
  for (pid_t pid; (pid = waitpid(-1, nullptr, WNOHANG)) > 0;) {
    for (Supervised& child : children_) {
      if (!child.Reap(pid)) continue;
      if (absl::Now() - child.started > kHealthyRun) child.backoff = kBackoffMin;
      child.restart_at = absl::Now() + child.backoff;
      LogWarning("process ended, will be started again",
                 {{"program", child.leader().arguments()[0]},
                  {"pid", static_cast<int64_t>(pid)},
                  {"restart_in_ms", absl::ToInt64Milliseconds(child.backoff)}});
      child.backoff = std::min(2 * child.backoff, kBackoffMax);
    }
  }
}

void Cluster::RestartDue() {
  for (Supervised& child : children_) {
    if (child.restart_at > absl::Now()) continue;
    child.restart_at = absl::InfiniteFuture();
    if (absl::Status status = child.BlockingStart().status(); !status.ok()) {
      child.restart_at = absl::Now() + child.backoff;
      child.backoff = std::min(2 * child.backoff, kBackoffMax);
    }
  }
}

void Cluster::Stop() {
  // The router first, so that it takes no new requests while the workers finish theirs.
  for (auto child = children_.rbegin(); child != children_.rend(); ++child) {
    child->leader().Terminate();
  }
  for (Supervised& child : children_) {
    child.leader().BlockingWait();
    child.BlockingKill();  // followers: those that the leader has not stopped
  }
}

absl::Status CheckPorts() {
  const std::string host = absl::GetFlag(FLAGS_host);
  RETURN_IF_ERROR(CheckPortFree(host, absl::GetFlag(FLAGS_port), "--port"));
  RETURN_IF_ERROR(CheckPortFree(host, absl::GetFlag(FLAGS_grpc_port), "--grpc_port"));
  const int worker_port = absl::GetFlag(FLAGS_worker_port);
  for (int i = 0; worker_port != 0 && i < absl::GetFlag(FLAGS_workers); ++i) {
    RETURN_IF_ERROR(CheckPortFree("127.0.0.1", worker_port + i, "--worker_port"));
  }
  const int metrics_port = absl::GetFlag(FLAGS_worker_metrics_port);
  for (int i = 0; metrics_port > 0 && i < absl::GetFlag(FLAGS_workers); ++i) {
    RETURN_IF_ERROR(CheckPortFree("127.0.0.1", metrics_port + i, "--worker_metrics_port"));
  }
  return absl::OkStatus();
}

absl::Status Run(const std::vector<absl::string_view>& arguments) {
  std::string model = absl::GetFlag(FLAGS_model);
  if (arguments.size() == 1) model = std::string(arguments[0]);
  if (arguments.size() > 1 || model.empty()) {
    return absl::InvalidArgumentError("name one model: facet serve facet-nano.gguf");
  }
  // Said here, once and with this command's flags, rather than by each child.
  RETURN_IF_ERROR(ModelFile::Open(model).status());
  if (const std::string assistant = LoadOptionsFromFlags().assistant; !assistant.empty()) {
    RETURN_IF_ERROR(ModelFile::Open(assistant).status());
  }
  RETURN_IF_ERROR(CheckTp());
  RETURN_IF_ERROR(CheckPorts());
  sigset_t child_signal;
  sigemptyset(&child_signal);
  sigaddset(&child_signal, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child_signal, nullptr);
  Cluster cluster;
  RETURN_IF_ERROR(cluster.Start(model));
  cluster.Supervise();
  cluster.Stop();
  return absl::OkStatus();
}

}  // namespace

const Command kServeCommand = {
    "serve", "a router and workers on this machine",
    "facet serve MODEL [--workers=1] [--tp=1] [--port=9379] [--grpc_port=9380] [--host=127.0.0.1]\n"
    "[--threads=N] [--kv_cache_mib=2048] [--kv_format=f32] [--kv_form=plain] [--assistant=FILE]\n"
    "[--worker_port=9381] [--worker_metrics_port=9391]\n"
    "[--allowed_origins=*] [--response_dir=FOLDER]: starts one router and the workers as processes "
    "of their own, starts\n"
    "again what dies, and stops all on Ctrl-C. MODEL is a GGUF file or a model folder.\n"
    "Threads are for each process; 0 shares the processors out. --tp=2 makes each worker two\n"
    "processes that share its work and memory.\n"
    "--adapter_dir=FOLDER: LoRA adapters, asked for as MODEL:NAME; --allow_adapter_loading lets\n"
    "clients load more.\n"
    "--tenants=FILE: API keys and limits; without it all may use it.\n"
    "--host_tier_bytes, --disk_tier_dir, --disk_tier_bytes: where cached prefixes go that a\n"
    "worker has no room for; from disk they are found again after a restart.\n\n"
    "  facet serve facet-nano.gguf --workers=2",
    Run, /*handles_signals=*/true};

}  // namespace facet
