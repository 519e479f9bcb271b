// facet-worker: serves one model on one device over gRPC (proto/worker.proto).
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/flags.h"
#include "base/grpc_log.h"
#include "base/log.h"
#include "base/signals.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "model/chat_template_revision.h"
#include "worker/describe.h"
#include "worker/engine.h"
#include "worker/engine_options.h"
#include "worker/load_board.h"
#include "worker/loaded_model.h"
#include "worker/worker_service.h"

ABSL_FLAG(std::string, model, "", "GGUF file, or folder with config.json and safetensors.");
ABSL_FLAG(std::string, model_name, "", "Name that clients ask for; the file's name if empty.");
ABSL_FLAG(std::string, host, "127.0.0.1", "Address to listen on; 0.0.0.0 for all.");
ABSL_FLAG(int, port, 9381, "gRPC port; 0 lets the kernel pick.");
ABSL_FLAG(std::string, device, "cpu", "Where to compute: cpu.");
ABSL_FLAG(int, threads, 0, "Threads of the CPU device; 0: one for each processor.");
ABSL_FLAG(std::string, cpu_path, "auto", "Instruction set of the CPU device: auto, avx2, avx512.");
ABSL_FLAG(int, kv_cache_mib, 2048, "Memory for keys and values.");
ABSL_FLAG(int, context_tokens_max, 0, "Longest prompt and answer; 0: the model's, if it fits.");
ABSL_FLAG(int, running_requests_max, 64, "Requests computed in one step.");
ABSL_FLAG(int, waiting_requests_max, 256, "Requests that may wait; one more is refused.");
ABSL_FLAG(int, step_tokens_max, 512, "Tokens computed in one step; longer prompts go in chunks.");
ABSL_FLAG(int64_t, host_tier_bytes, int64_t{1} << 30,
          "Host memory for cached prefixes that the device has no room for; 0: none.");
ABSL_FLAG(std::string, disk_tier_dir, "",
          "Folder for cached prefixes, found again after a restart; empty: none.");
ABSL_FLAG(int64_t, disk_tier_bytes, int64_t{16} << 30, "The most that --disk_tier_dir holds.");
ABSL_FLAG(bool, dry_run, false, "Print the memory plan and exit; nothing is served.");
ABSL_FLAG(int, drain_timeout_s, 30, "How long SIGTERM waits for running requests.");

namespace facet {
namespace {

constexpr char kUsage[] =
    "facet-worker: computes tokens for routers.\n\n"
    "  facet-worker --model=facet-nano.gguf\n"
    "  facet-worker --model=facet-nano.gguf --dry_run\n"
    "  facet-worker --model=gemma-4-12b-it-Q4_K_M.gguf --threads=8 --kv_cache_mib=4096";

// Lets a router's keepalive pings through, which notice a vanished host within seconds.
constexpr int kKeepaliveMinIntervalMs = 1000;

absl::StatusOr<LoadedModel> Load() {
  LoadOptions options;
  options.device = absl::GetFlag(FLAGS_device);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.cpu_path = absl::GetFlag(FLAGS_cpu_path);
  options.kv.memory_bytes = int64_t{absl::GetFlag(FLAGS_kv_cache_mib)} << 20;
  options.kv.context_tokens_max = absl::GetFlag(FLAGS_context_tokens_max);
  options.kv.running_requests_max = absl::GetFlag(FLAGS_running_requests_max);
  options.kv.step_tokens_max = absl::GetFlag(FLAGS_step_tokens_max);
  // A plan touches no disk.
  options.tiers = {absl::GetFlag(FLAGS_host_tier_bytes),
                   absl::GetFlag(FLAGS_dry_run) ? "" : absl::GetFlag(FLAGS_disk_tier_dir),
                   absl::GetFlag(FLAGS_disk_tier_bytes)};
  if (options.tiers.host_bytes < 0 || options.tiers.disk_bytes < 0) {
    return absl::InvalidArgumentError("--host_tier_bytes and --disk_tier_bytes must be at least 0");
  }
  if (absl::GetFlag(FLAGS_model).empty()) {
    return absl::InvalidArgumentError("--model is missing: name a GGUF file or a model folder");
  }
  if (options.kv.running_requests_max < 1 || options.kv.step_tokens_max < 1 ||
      absl::GetFlag(FLAGS_kv_cache_mib) < 1 || absl::GetFlag(FLAGS_waiting_requests_max) < 1) {
    return absl::InvalidArgumentError(
        "--running_requests_max, --waiting_requests_max, --step_tokens_max and --kv_cache_mib "
        "must be at least 1");
  }
  absl::StatusOr<LoadedModel> model = LoadModel(absl::GetFlag(FLAGS_model), options);
  if (model.ok() && model->vocabulary == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::GetFlag(FLAGS_model), " has no tokenizer, so no text can be served"));
  }
  return model;
}

EngineOptions MakeEngineOptions(const LoadedModel& model, LoadBoard* board) {
  EngineOptions options = EngineOptionsFor(model);
  options.waiting_requests_max = absl::GetFlag(FLAGS_waiting_requests_max);
  options.on_load = [board](const v1::Load& load) { board->Post(load); };
  return options;
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "facet-worker: %s\n", std::string(status.message()).c_str());
  return 1;
}

// What the memory is for, before any of it is touched.
void PrintPlan(const LoadedModel& model) {
  const KvPlan& plan = model.cache->plan();
  int64_t weights = 0;
  for (const Tensor& tensor : model.file->tensors()) {
    weights += static_cast<int64_t>(tensor.data.size());
  }
  std::printf("weights        %10.1f MiB, mapped from %s\n",
              static_cast<double>(weights) / (1 << 20), model.file->path().c_str());
  const auto print_pool = [](const char* name, int32_t pages, int64_t page_bytes) {
    std::printf("%s %10.1f MiB: %d pages of %d tokens, %.1f KiB each\n", name,
                static_cast<double>(pages * page_bytes) / (1 << 20), pages, kPageTokens,
                static_cast<double>(page_bytes) / 1024);
  };
  print_pool("full layers   ", plan.full_pages, plan.full_page_bytes);
  print_pool("sliding layers", plan.sliding_pages, plan.sliding_page_bytes);
  if (model.host_tier != nullptr) {
    const PrefixCache& slots = model.host_tier->slots();
    print_pool("host, full    ", slots.page_count(KvPool::kFull), plan.full_page_bytes);
    print_pool("host, sliding ", slots.page_count(KvPool::kSliding), plan.sliding_page_bytes);
  }
  std::printf("%lld tokens of context fit in all, at most %d in one sequence\n",
              static_cast<long long>(plan.full_pages) * kPageTokens, plan.context_tokens_max);
}

int Main() {
  absl::StatusOr<LoadedModel> model = Load();
  if (!model.ok()) return Fail(model.status());
  if (absl::GetFlag(FLAGS_dry_run)) {
    PrintPlan(*model);
    return 0;
  }
  if (!IsKnownChatTemplate(model->vocabulary->chat_template())) {
    LogWarning("the file's chat template is not one we know; Gemma 4's July 2026 rules are used",
               {{"model", model->file->path()}});
  }
  LoadBoard board;
  const EngineOptions options = MakeEngineOptions(*model, &board);
  Engine engine(options, model->runner.get(), model->cache.get(), model->host_tier.get(),
                model->disk_tier.get());
  WorkerService service(DescribeWorker(*model, options, absl::GetFlag(FLAGS_model_name)), &engine,
                        &board);

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  const std::string address =
      absl::StrCat(absl::GetFlag(FLAGS_host), ":", absl::GetFlag(FLAGS_port));
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
  engine.Start();
  std::printf("{\"grpc_port\":%d}\n", port);
  std::fflush(stdout);
  LogInfo("serving", {{"model", model->file->path()}, {"port", port}});

  WaitForTermination();
  LogInfo("draining");
  server->GetHealthCheckService()->SetServingStatus(false);
  engine.Drain();
  engine.BlockingWaitIdle(absl::Seconds(absl::GetFlag(FLAGS_drain_timeout_s)));
  server->Shutdown(absl::ToChronoTime(absl::Now() + absl::Seconds(1)));
  return 0;
}

}  // namespace
}  // namespace facet

int main(int argc, char** argv) {
  facet::BlockTerminationSignals();
  facet::ParseFlags(argc, argv, facet::kUsage);
  facet::StartLog("worker");
  facet::LogEffectiveFlags();
  facet::TakeOverGrpcLog();
  return facet::Main();
}
