#ifndef FACET_ROUTER_CLUSTER_WORKER_CLIENT_H_
#define FACET_ROUTER_CLUSTER_WORKER_CLIENT_H_

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/page_event.h"
#include "proto/worker.pb.h"
#include "router/cluster/handshake.h"
#include "router/cluster/mailbox.h"
#include "router/cluster/placement.h"
#include "router/media/loaded_media.h"
#include "router/metrics.h"

namespace facet {

// The LoRA adapters of a worker: name to digest.
using AdapterDigests = absl::flat_hash_map<std::string, std::string>;

struct WorkerClientOptions {
  // A vanished host is noticed after keepalive_ms + keepalive_timeout_ms: within 5 s.
  int keepalive_ms = 2'000;
  int keepalive_timeout_ms = 2'000;
  int describe_timeout_ms = 30'000;
  int adapter_timeout_ms = 120'000;  // For reading an adapter from a slow disk.
  // Between tries to connect: doubled each time, and longer for a worker that was refused, since
  // only a restart changes what it serves.
  int backoff_ms_min = 50;
  int backoff_ms_max = 1'000;
  int refused_backoff_ms = 5'000;
  // And for one that was given up: doubled each time until it answers again.
  int given_up_backoff_ms_min = 10'000;
  int given_up_backoff_ms_max = 600'000;
  int watch_again_ms_min = 1'000;  // A worker whose news have gaps more often counts as lost.
  // Messages that wait to be written; beyond them a worker counts as full.
  size_t outbox_messages_max = 4096;
};

// The router's connection to one worker: asks what it serves, follows its load, and carries all
// requests over one session. Keeps connecting for as long as it lives.
//
//   connecting --described and accepted, first load report--> ready
//   connecting --described, not accepted--> refused --later--> connecting
//   ready --session or watch ends--> connecting (all streams lost)
//
// All methods may be called from any thread. gRPC's callbacks only take the lock, put into a
// mailbox or post to `context`.
class WorkerClient {
 public:
  // Who hears of the worker. They must not call the client.
  struct Listeners {
    // Decides on the thread of `context` whether the worker is one for this router; null if it is.
    std::function<std::optional<WorkerRefusal>(const v1::DescribeReply& description)> accept;
    // Pages that it stored or removed; and that none of what was told counts any more. One call at
    // a time, on gRPC's threads or the context's.
    std::function<void(absl::Span<const PageEvent> events)> on_pages;
    std::function<void()> on_pages_gone;
    // Its load has changed, or it has come or gone: there may be room for a request.
    std::function<void()> on_load;
    // It was ready and is not any more.
    std::function<void()> on_lost;
  };

  // Starts connecting. `context` and `metrics` must outlive the client.
  static std::unique_ptr<WorkerClient> Connect(boost::asio::io_context& context,
                                               std::string address, WorkerClientOptions options,
                                               Listeners listeners, RouterMetrics& metrics);
  // Ends the session (the worker cancels its requests) and waits until gRPC is done with it.
  // REQUIRES: `context` still runs; not one of its threads.
  virtual ~WorkerClient() = default;

  virtual const std::string& address() const = 0;
  virtual WorkerSnapshot Snapshot() const = 0;
  // Since it last told or answered anything, or was given its first request; 0 if it has none.
  virtual double SilentS() const = 0;
  // It counts as lost, and is not tried again for a while. Ignored if it is not ready.
  virtual void GiveUp(const std::string& reason) = 0;
  // What it holds; null if it is not ready or holds none.
  virtual std::shared_ptr<const AdapterDigests> adapters() const = 0;
  // Whether it is ready and holds an adapter, of this digest unless that is empty.
  bool HoldsAdapter(const std::string& name, const std::string& digest = "") const;

  // Hands over a request, and where more of its prompt's pages are, if `source` names a worker; the
  // bytes of `media`, which may be null, are sent only if the worker asks for them. Replies go to
  // `mailbox` until one has a finish_reason or PutLost says that none will. Of its prompt the
  // worker has about `prefill_tokens` to compute. Returns the stream's id for Cancel. UNAVAILABLE
  // if the worker is not ready, RESOURCE_EXHAUSTED if too much waits to be sent.
  virtual absl::StatusOr<uint64_t> Start(const v1::GenerateRequest& request,
                                         const v1::KvSource& source, uint32_t prefill_tokens,
                                         std::shared_ptr<const LoadedMedia> media,
                                         std::shared_ptr<Mailbox> mailbox) = 0;
  // Somebody else sends the worker a request of which it has so many tokens to compute: counted as
  // one that was started after its last report.
  virtual void CountElsewhere(uint32_t prefill_tokens) = 0;
  // Asks the worker to load or unload a LoRA adapter (proto/worker.proto). `done` hears how it
  // ended, once, perhaps before this returns: the worker's own status, or UNAVAILABLE.
  using Done = std::function<void(const absl::Status& status)>;
  virtual void LoadAdapter(const std::string& name, const std::string& path, Done done) = 0;
  virtual void UnloadAdapter(const std::string& name, Done done) = 0;

  // The mailbox hears no more. An ended stream is ignored.
  virtual void Cancel(uint64_t stream_id) = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_WORKER_CLIENT_H_
