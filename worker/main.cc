// facet-worker: serves one model on one device over gRPC (proto/worker.proto).
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/flags.h"
#include "base/grpc_log.h"
#include "base/listen_address.h"
#include "base/lock_checks.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/status_macros.h"
#include "base/target.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "model/chat_template_revision.h"
#include "model/grammar.h"
#include "ops/metrics/metrics.h"
#include "ops/metrics/metrics_server.h"
#include "worker/describe.h"
#include "worker/engine.h"
#include "worker/engine_metrics.h"
#include "worker/engine_options.h"
#include "worker/group_follower.h"
#include "worker/group_join.h"
#include "worker/group_leader.h"
#include "worker/loaded_model.h"
#include "worker/model_flags.h"
#include "worker/page_puller.h"
#include "worker/registrar.h"
#include "worker/vllm_metrics.h"
#include "worker/watch_board.h"
#include "worker/worker_service.h"

ABSL_FLAG(std::string, model_name, "", "Name that clients ask for; the file's name if empty.");
ABSL_FLAG(std::string, host, "127.0.0.1", "Address to listen on; 0.0.0.0 for all.");
ABSL_FLAG(int, port, 9381, "gRPC port; 0 lets the kernel pick.");
ABSL_FLAG(int, metrics_port, 9391, "HTTP port of /metrics; 0 lets the kernel pick, -1: none.");
ABSL_FLAG(bool, vllm_metric_names, false,
          "Also tell what vLLM tells, under its names, for dashboards and autoscalers that read "
          "them.");
ABSL_FLAG(std::vector<std::string>, router, {},
          "gRPC ports of routers to make this worker known to, host:port,...; dns:///name:port for "
          "all addresses of a name. They must have been started with --accept_workers.");
ABSL_FLAG(std::string, advertise, "",
          "With --router: where routers and other workers reach this one, host:port; empty: --host "
          "and --port.");
ABSL_FLAG(int, running_requests_max, 64, "Requests computed in one step.");
ABSL_FLAG(int, waiting_requests_max, 256, "Requests that may wait; one more is refused.");
ABSL_FLAG(int, step_tokens_max, 512, "Tokens computed in one step; longer prompts go in chunks.");
ABSL_FLAG(
    std::string, adapter_dir, "",
    "Folder of LoRA adapters to load at start, each under the name of its folder or GGUF file; "
    "empty: none.");
ABSL_FLAG(int, tp_size, 1,
          "Processes that compute one model together, each a part of every layer (tensor "
          "parallelism); all are started with the same flags but --tp_rank.");
ABSL_FLAG(int, tp_rank, 0, "Which of them this is; 0 leads and is what routers reach.");
ABSL_FLAG(std::string, tp_leader, "",
          "Where rank 0 listens for the others, host:port; on one host also unix-abstract:NAME.");
ABSL_FLAG(int, tp_timeout_s, 120, "How long to wait until all of them are there.");
ABSL_FLAG(bool, dry_run, false, "Print the memory plan and exit; nothing is served.");
ABSL_FLAG(int, drain_timeout_s, 30, "How long SIGTERM waits for running requests.");

namespace facet {
namespace {

constexpr char kUsage[] =
    "facet-worker: computes tokens for routers.\n\n"
    "  facet-worker --model=facet-nano.gguf\n"
    "  facet-worker --model=facet-nano.gguf --dry_run\n"
    "  facet-worker --model=facet-nano.gguf --host=0.0.0.0 --advertise=10.0.0.5:9381 \\\n"
    "    --router=dns:///routers.facet.svc.cluster.local:9380\n"
    "  facet-worker --model=facet-nano.gguf --adapter_dir=adapters\n"
    "  facet-worker --model=facet-nano.gguf --tp_size=2 --tp_rank=0 --tp_leader=10.0.0.5:9371\n"
    "  facet-worker --model=facet-nano.gguf --tp_size=2 --tp_rank=1 --tp_leader=10.0.0.5:9371\n"
    "  facet-worker --model=gemma-4-12b-it-Q4_K_M.gguf --threads=8 --kv_cache_mib=4096";

// Lets a router's keepalive pings through, which notice a vanished host within seconds.
constexpr int kKeepaliveMinIntervalMs = 1000;

GroupOptions GroupOptionsFromFlags() {
  GroupOptions options;
  options.size = absl::GetFlag(FLAGS_tp_size);
  options.rank = absl::GetFlag(FLAGS_tp_rank);
  options.leader = absl::GetFlag(FLAGS_tp_leader);
  options.timeout = absl::Seconds(absl::GetFlag(FLAGS_tp_timeout_s));
  options.cancelled = TerminationPending;
  return options;
}

// With --tp_size, waits for the rest of the group first.
absl::StatusOr<LoadedModel> Load() {
  ASSIGN_OR_RETURN(const std::string path, ModelPath());
  const GroupOptions group = GroupOptionsFromFlags();
  RETURN_IF_ERROR(ValidateGroup(group));
  LoadOptions options = LoadOptionsFromFlags();
  options.kv.running_requests_max = absl::GetFlag(FLAGS_running_requests_max);
  options.kv.step_tokens_max = absl::GetFlag(FLAGS_step_tokens_max);
  // A plan touches no disk.
  if (absl::GetFlag(FLAGS_dry_run)) options.tiers.disk_folder.clear();
  if (options.kv.running_requests_max < 1 || options.kv.step_tokens_max < 1 ||
      options.kv.memory_bytes < 1 || absl::GetFlag(FLAGS_waiting_requests_max) < 1) {
    return absl::InvalidArgumentError(
        "--running_requests_max, --waiting_requests_max, --step_tokens_max and --kv_cache_mib "
        "must be at least 1");
  }
  if (group.size > 1) {
    if (absl::GetFlag(FLAGS_dry_run)) {
      return absl::InvalidArgumentError("--dry_run plans a whole model: leave --tp_size out");
    }
    ASSIGN_OR_RETURN(const auto facts, GroupFacts(path, options, group.size));
    CollectiveOptions collective;
    collective.on_failure = EndWithGroup;
    ASSIGN_OR_RETURN(options.collective, BlockingJoinGroup(group, facts, collective));
  }
  absl::StatusOr<LoadedModel> model = LoadModel(path, options);
  if (model.ok() && model->vocabulary == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has no tokenizer, so no text can be served"));
  }
  return model;
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "facet-worker: %s\n", std::string(status.message()).c_str());
  return 1;
}

// A rank other than 0: it has no port, and ends when its leader does; signals end it before it has
// joined alone. It is ready at once, since it waits for the leader anyway.
int Follow() {
  std::printf("{\"tp_rank\":%d}\n", absl::GetFlag(FLAGS_tp_rank));
  std::fflush(stdout);
  absl::StatusOr<LoadedModel> model = Load();
  if (!model.ok()) return Fail(model.status());
  IgnoreTerminationSignals();
  LogInfo("following", {{"tp_rank", absl::GetFlag(FLAGS_tp_rank)}});
  const absl::Status status = BlockingFollow(*model);
  return status.ok() ? 0 : Fail(status);
}

EngineOptions MakeEngineOptions(const LoadedModel& model, WatchBoard* board) {
  EngineOptions options = EngineOptionsFor(model);
  options.waiting_requests_max = absl::GetFlag(FLAGS_waiting_requests_max);
  options.on_load = [board](const v1::Load& load) { board->PostLoad(load); };
  return options;
}

// Where to register, and as what. The address is empty if that is --host and the port that is
// listened on; INVALID_ARGUMENT names the flag.
absl::StatusOr<RegistrarOptions> ReadRegistrarOptions() {
  RegistrarOptions options;
  for (const std::string& router : absl::GetFlag(FLAGS_router)) {
    absl::StatusOr<Target> target = ParseTarget(router);
    if (!target.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--router: ", target.status().message()));
    }
    options.routers.push_back(*std::move(target));
  }
  options.address = absl::GetFlag(FLAGS_advertise);
  if (!options.address.empty()) {
    const absl::StatusOr<Target> target = ParseOneTarget(options.address);
    if (!target.ok() || IsWildcardHost(target->host)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--advertise: ",
          target.ok() ? absl::StrCat("\"", options.address, "\" says nothing of which host it is")
                      : target.status().message()));
    }
  } else if (!options.routers.empty() && IsWildcardHost(absl::GetFlag(FLAGS_host))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--router with --host=", absl::GetFlag(FLAGS_host),
        " needs --advertise=host:port, since routers must know where this worker is reached"));
  }
  return options;
}

VllmMetrics::Shape ShapeOf(const LoadedModel& model, const v1::DescribeReply& description) {
  const KvPlan& plan = model.cache->plan();
  return {description.model_name(), kPageTokens, plan.full_pages,
          std::string(NameOf(plan.layout.format)), model.adapters->limits().adapters_max};
}

// Null if there is to be none.
absl::StatusOr<std::unique_ptr<MetricsServer>> StartMetricsServer(const MetricRegistry& registry) {
  const int port = absl::GetFlag(FLAGS_metrics_port);
  if (port < -1 || port > 65535) {
    return absl::InvalidArgumentError("--metrics_port must be in [-1, 65535]");
  }
  if (port == -1) return nullptr;
  auto server = MetricsServer::Start(absl::GetFlag(FLAGS_host), port, registry);
  if (server.ok()) return server;
  return absl::UnavailableError(
      absl::StrCat(server.status().message(), "; choose another with --metrics_port"));
}

// What the memory is for, before any of it is touched.
void PrintPlan(const LoadedModel& model) {
  const KvPlan& plan = model.cache->plan();
  const auto print_file = [](const char* name, const ModelFile& file) {
    int64_t bytes = 0;
    for (const Tensor& tensor : file.tensors()) bytes += static_cast<int64_t>(tensor.data.size());
    std::printf("%s %10.1f MiB, mapped from %s\n", name, static_cast<double>(bytes) / (1 << 20),
                file.path().c_str());
  };
  print_file("weights       ", *model.file);
  if (model.assistant_file != nullptr) print_file("drafter       ", *model.assistant_file);
  const auto print_pool = [](const char* name, const std::string& stored, int32_t pages,
                             int64_t page_bytes) {
    std::printf("%s %10.1f MiB: %d pages of %d tokens, %.1f KiB each, %lld B a token (%s)\n", name,
                static_cast<double>(pages * page_bytes) / (1 << 20), pages, kPageTokens,
                static_cast<double>(page_bytes) / 1024,
                static_cast<long long>(page_bytes / kPageTokens), stored.c_str());
  };
  const absl::string_view format = NameOf(plan.layout.format);
  print_pool("full layers   ", absl::StrCat(format, " ", NameOf(plan.layout.form)), plan.full_pages,
             plan.full_page_bytes);
  print_pool("sliding layers", absl::StrCat(format, " plain"), plan.sliding_pages,
             plan.sliding_page_bytes);
  if (model.host_tier != nullptr) {
    const PrefixCache& slots = model.host_tier->slots();
    print_pool("host, full    ", absl::StrCat(format, " ", NameOf(plan.layout.form)),
               slots.page_count(KvPool::kFull), plan.full_page_bytes);
    print_pool("host, sliding ", absl::StrCat(format, " plain"), slots.page_count(KvPool::kSliding),
               plan.sliding_page_bytes);
  }
  const AdapterLimits& adapters = model.adapters->limits();
  std::printf("adapters       %10.1f MiB at most, %d of them\n",
              static_cast<double>(adapters.bytes_max) / (1 << 20), adapters.adapters_max);
  std::printf("%lld tokens of context fit in all, at most %d in one sequence\n",
              static_cast<long long>(plan.full_pages) * kPageTokens, plan.context_tokens_max);
}

int Main() {
  if (absl::GetFlag(FLAGS_tp_rank) > 0) return Follow();
  absl::StatusOr<RegistrarOptions> registrar_options = ReadRegistrarOptions();
  if (!registrar_options.ok()) return Fail(registrar_options.status());
  absl::StatusOr<LoadedModel> model = Load();
  if (!model.ok()) return Fail(model.status());
  if (absl::GetFlag(FLAGS_dry_run)) {
    PrintPlan(*model);
    return 0;
  }
  LeadGroup(*model);
  if (!IsKnownChatTemplate(model->vocabulary->chat_template())) {
    LogWarning("the file's chat template is not one we know; Gemma 4's July 2026 rules are used",
               {{"model", model->file->path()}});
  }
  WatchBoard board;
  const EngineOptions options = MakeEngineOptions(*model, &board);
  model->ObservePages([&board](const PageEvent& event) { board.PostPage(event); });
  const auto grammar_compiler = GrammarCompiler::Make(model->vocabulary);
  EngineParts parts = PartsOf(*model);
  if (grammar_compiler.ok()) {
    parts.grammar_compiler = grammar_compiler->get();
  } else {
    LogWarning("requests with grammars will be refused",
               {{"reason", std::string(grammar_compiler.status().message())}});
  }
  ObserveAdapters(*model->adapters, board);
  if (const std::string folder = absl::GetFlag(FLAGS_adapter_dir); !folder.empty()) {
    if (absl::Status status = BlockingLoadFolder(folder, *model->adapters); !status.ok()) {
      return Fail(absl::Status(status.code(), absl::StrCat("--adapter_dir: ", status.message())));
    }
  }
  const PageFormat format = model->page_format();
  PagePuller puller({format});
  if (model->host_tier != nullptr) parts.peers = &puller;
  const v1::DescribeReply description =
      DescribeWorker(*model, options, absl::GetFlag(FLAGS_model_name));
  MetricRegistry registry("worker");
  EngineMetrics metrics(registry);
  parts.observers = {&metrics};
  std::unique_ptr<VllmMetrics> vllm_metrics;
  if (absl::GetFlag(FLAGS_vllm_metric_names)) {
    vllm_metrics = std::make_unique<VllmMetrics>(registry, ShapeOf(*model, description));
    board.AddWatcher(vllm_metrics.get());
    parts.observers.push_back(vllm_metrics.get());
  }
  const auto unwatch = absl::MakeCleanup([&] {
    if (vllm_metrics != nullptr) board.RemoveWatcher(vllm_metrics.get());
  });
  Engine engine(options, parts);
  WorkerService service(description, &engine, &board, model->adapters.get(), {format});

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  const std::string address = ListenAddress(absl::GetFlag(FLAGS_host), absl::GetFlag(FLAGS_port));
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kKeepaliveMinIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return Fail(absl::UnavailableError(
        absl::StrCat("cannot listen on ", address,
                     ": the port is in use or the address is not this host's; "
                     "choose another with --port")));
  }
  const auto metrics_server = StartMetricsServer(registry);
  if (!metrics_server.ok()) return Fail(metrics_server.status());
  engine.Start();
  std::printf("{\"grpc_port\":%d,\"metrics_port\":%d}\n", port,
              *metrics_server == nullptr ? -1 : (*metrics_server)->port());
  std::fflush(stdout);
  LogInfo("serving", {{"model", model->file->path()}, {"port", port}});

  std::unique_ptr<Registrar> registrar;
  if (!registrar_options->routers.empty()) {
    if (registrar_options->address.empty()) {
      registrar_options->address = ListenAddress(absl::GetFlag(FLAGS_host), port);
    }
    registrar = Registrar::Start(*std::move(registrar_options));
  }

  WaitForTermination();
  LogInfo("draining");
  registrar = nullptr;
  server->GetHealthCheckService()->SetServingStatus(false);
  engine.Drain();
  engine.BlockingWaitIdle(absl::Seconds(absl::GetFlag(FLAGS_drain_timeout_s)));
  server->Shutdown(absl::ToChronoTime(absl::Now() + absl::Seconds(1)));
  return 0;
}

}  // namespace
}  // namespace facet

int main(int argc, char** argv) {
  facet::ParseFlags(argc, argv, facet::kUsage);
  if (absl::GetFlag(FLAGS_tp_rank) == 0) facet::BlockTerminationSignals();
  facet::SkipLockOrderChecksInRelease();
  facet::StartLog("worker");
  facet::LogEffectiveFlags();
  facet::TakeOverGrpcLog();
  return facet::Main();
}
