#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/statusor.h"
#include "base/flags.h"
#include "base/grpc_log.h"
#include "base/lock_checks.h"
#include "base/log.h"
#include "base/signals.h"
#include "router/router.h"

ABSL_FLAG(std::vector<std::string>, workers, {},
          "The workers' gRPC addresses, host:port,...; dns:///name:port for all addresses that a "
          "name has, now and later.");
ABSL_FLAG(int, resolve_ms, 5'000,
          "Between two looks at the addresses of names in --workers; sooner after a loss.");
ABSL_FLAG(bool, accept_workers, false,
          "Whether workers may make themselves known at --grpc_port (facet-worker --router). "
          "Whoever reaches that port gets prompts then.");
ABSL_FLAG(int, workers_max, 4096, "Workers from all sources together.");
ABSL_FLAG(std::string, host, "0.0.0.0", "IP address to listen on, for HTTP and gRPC.");
ABSL_FLAG(uint16_t, port, 9379, "HTTP port; 0 lets the kernel pick one.");
ABSL_FLAG(uint16_t, grpc_port, 9380, "gRPC port; 0 lets the kernel pick one.");
ABSL_FLAG(int, http_threads, 2, "Threads that do the router's work, HTTP and tokens alike.");
ABSL_FLAG(std::vector<std::string>, allowed_origins, {},
          "Origins whose pages may call the API from a browser; * allows all.");
ABSL_FLAG(uint64_t, request_body_bytes_max, 32 << 20, "A larger request is answered with 413.");
ABSL_FLAG(int, connections_max, 10'000, "HTTP connections at the same time.");
ABSL_FLAG(int, header_timeout_ms, 10'000, "For a request's header to arrive.");
ABSL_FLAG(int, body_timeout_ms, 60'000, "For a request's body to arrive.");
ABSL_FLAG(int, write_timeout_ms, 30'000, "For a client to take what was written to it.");
ABSL_FLAG(int, keep_alive_ms, 10'000, "Silence in a stream before a comment is sent.");
ABSL_FLAG(int, worker_wait_ms, 15'000,
          "How long a request waits while no worker is ready, new or begun.");
ABSL_FLAG(int, stuck_ms, 30'000,
          "A worker that has requests and says nothing for so long, and for ten of its longest "
          "steps, is given up while another is there: its requests go on elsewhere.");
ABSL_FLAG(std::string, tenants, "",
          "JSON file of who may use the router, and how much of it; read again when it changes. "
          "Empty: all may, without an API key.");
ABSL_FLAG(int, queue_answers_max, 4096,
          "Answers that wait while workers are full. Beyond them, who has most in the queue is "
          "refused with 503.");
ABSL_FLAG(uint64_t, queue_bytes_max, 512 << 20, "Bytes of them together.");
ABSL_FLAG(int, queue_wait_ms, 600'000, "How long a request without a deadline may wait there.");
ABSL_FLAG(bool, resume_across_classes, true,
          "Whether an answer goes on at a worker of another numerics class, perhaps with other "
          "tokens, if none of its own class is left.");
ABSL_FLAG(
    int64_t, index_pages_max, 1 << 20,
    "Distinct pages of cached prefixes that the router keeps track of, 64 tokens and about 80 "
    "bytes each.");
ABSL_FLAG(
    bool, placement_headers, true,
    "Say in x-facet-worker and x-facet-placement where an answer was computed, and why there.");
ABSL_FLAG(int, media_threads, 2, "Threads that decode pictures, sounds and videos.");
ABSL_FLAG(int64_t, media_bytes_max, int64_t{1} << 30,
          "For the pictures, sounds and videos of all requests together, until their answers end.");
ABSL_FLAG(bool, fetch_media, false,
          "Fetch pictures, sounds and videos that requests name by https addresses.");
ABSL_FLAG(std::vector<std::string>, fetch_media_hosts, {},
          "With --fetch_media: the hosts that may be asked; .example.com for all below it, * for "
          "all. Addresses that are not public are never asked.");
ABSL_FLAG(std::string, fetch_media_ca_file, "",
          "With --fetch_media: certificates to trust, in PEM; empty: those of the system.");
ABSL_FLAG(std::string, response_dir, "",
          "Folder for what previous_response_id of /v1/responses goes on from, shared by all "
          "routers; empty: nothing is kept.");
ABSL_FLAG(int, responses_max, 10'000, "Responses in --response_dir; the oldest go first.");
ABSL_FLAG(int64_t, response_bytes_max, int64_t{1} << 30, "Bytes of them together.");
ABSL_FLAG(
    std::string, adapter_dir, "",
    "Folder of the LoRA adapters that all workers are to hold, under one path for routers and "
    "workers; empty: none.");
ABSL_FLAG(
    bool, allow_adapter_loading, false,
    "Whether clients may load and unload LoRA adapters, from any path that workers can read.");
ABSL_FLAG(int, ext_proc_port, -1,
          "gRPC port of the endpoint picker, for gateways that send requests themselves (Envoy's "
          "external processing, the Gateway API inference extension); 0 lets the kernel pick, -1: "
          "none.");
ABSL_FLAG(int, ext_proc_endpoint_port, 9379,
          "With --ext_proc_port: where the HTTP server beside each worker listens.");
ABSL_FLAG(int, drain_ms, 30'000, "After SIGTERM, for running requests to end.");

namespace {

constexpr char kUsage[] =
    R"(Serves the OpenAI API over HTTP, and facet.v1.Inference over gRPC, from a set of workers.

  facet-router --workers=127.0.0.1:9381,127.0.0.1:9382
  facet-router --workers=worker-0:9381 --port=80 --allowed_origins=https://example.com
  facet-router --workers=dns:///workers.facet.svc.cluster.local:9381
  facet-router --accept_workers
  facet-router --workers=10.0.0.5:9381,10.0.0.6:9381 --ext_proc_port=9002

Prints {"http_port":N,"grpc_port":N,"ext_proc_port":N} when it listens. Every flag may also be given as
FACET_FLAG_<NAME> in the environment.)";

facet::RouterOptions OptionsFromFlags() {
  facet::RouterOptions options;
  options.workers = absl::GetFlag(FLAGS_workers);
  options.accept_workers = absl::GetFlag(FLAGS_accept_workers);
  options.resolve_ms = absl::GetFlag(FLAGS_resolve_ms);
  options.workers_max = absl::GetFlag(FLAGS_workers_max);
  options.http.host = absl::GetFlag(FLAGS_host);
  options.http.port = absl::GetFlag(FLAGS_port);
  options.http.allowed_origins = absl::GetFlag(FLAGS_allowed_origins);
  options.http.body_bytes_max = absl::GetFlag(FLAGS_request_body_bytes_max);
  options.http.connections_max = absl::GetFlag(FLAGS_connections_max);
  options.http.header_timeout_ms = absl::GetFlag(FLAGS_header_timeout_ms);
  options.http.body_timeout_ms = absl::GetFlag(FLAGS_body_timeout_ms);
  options.http.write_timeout_ms = absl::GetFlag(FLAGS_write_timeout_ms);
  options.api.keep_alive_ms = absl::GetFlag(FLAGS_keep_alive_ms);
  options.failover.worker_wait_ms = absl::GetFlag(FLAGS_worker_wait_ms);
  options.stuck_ms = absl::GetFlag(FLAGS_stuck_ms);
  options.tenants.file = absl::GetFlag(FLAGS_tenants);
  options.queue.answers_max = absl::GetFlag(FLAGS_queue_answers_max);
  options.queue.bytes_max = absl::GetFlag(FLAGS_queue_bytes_max);
  options.queue_wait_ms = absl::GetFlag(FLAGS_queue_wait_ms);
  options.failover.may_change_class = absl::GetFlag(FLAGS_resume_across_classes);
  options.index_pages_max = absl::GetFlag(FLAGS_index_pages_max);
  options.api.placement_headers = absl::GetFlag(FLAGS_placement_headers);
  options.media.threads = absl::GetFlag(FLAGS_media_threads);
  options.media.bytes_max = absl::GetFlag(FLAGS_media_bytes_max);
  options.media.fetch.enabled = absl::GetFlag(FLAGS_fetch_media);
  options.media.fetch.hosts = absl::GetFlag(FLAGS_fetch_media_hosts);
  options.media.fetch.ca_file = absl::GetFlag(FLAGS_fetch_media_ca_file);
  options.api.responses = {absl::GetFlag(FLAGS_response_dir), absl::GetFlag(FLAGS_responses_max),
                           absl::GetFlag(FLAGS_response_bytes_max)};
  options.api.allow_adapter_loading = absl::GetFlag(FLAGS_allow_adapter_loading);
  options.adapters.folder = absl::GetFlag(FLAGS_adapter_dir);
  options.grpc_port = absl::GetFlag(FLAGS_grpc_port);
  options.picker.port = absl::GetFlag(FLAGS_ext_proc_port);
  options.picker.endpoint_port = absl::GetFlag(FLAGS_ext_proc_endpoint_port);
  options.threads = absl::GetFlag(FLAGS_http_threads);
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  facet::BlockTerminationSignals();
  facet::ParseFlags(argc, argv, kUsage);
  facet::SkipLockOrderChecksInRelease();
  facet::StartLog("router");
  facet::LogEffectiveFlags();
  facet::TakeOverGrpcLog();
  absl::StatusOr<std::unique_ptr<facet::Router>> router = facet::Router::Start(OptionsFromFlags());
  if (!router.ok()) {
    std::fprintf(stderr, "ERROR: %s\n", std::string(router.status().message()).c_str());
    return 1;
  }
  std::printf("{\"http_port\":%d,\"grpc_port\":%d,\"ext_proc_port\":%d}\n", (*router)->http_port(),
              (*router)->grpc_port(), (*router)->ext_proc_port());
  std::fflush(stdout);
  facet::WaitForTermination();
  facet::LogInfo("stopping");
  (*router)->Stop(absl::GetFlag(FLAGS_drain_ms));
  return 0;
}
