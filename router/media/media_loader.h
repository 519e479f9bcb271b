#ifndef FACET_ROUTER_MEDIA_MEDIA_LOADER_H_
#define FACET_ROUTER_MEDIA_MEDIA_LOADER_H_

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <memory>

#include "absl/status/status.h"
#include "router/api/request.h"
#include "router/media/byte_budget.h"
#include "router/media/media_fetcher.h"
#include "router/media/work_pool.h"
#include "router/text/served_model.h"

namespace facet {

// Set once the client of a request is gone. Shared by who hears of it and the threads that decode.
using ClientLeft = std::shared_ptr<const std::atomic<bool>>;

// The `code` of its RESOURCE_EXHAUSTED, and the reason in metrics.
inline constexpr char kMediaBusyCode[] = "media_busy";

struct MediaLoaderOptions {
  int threads = 2;        // that decode
  int waiting_max = 128;  // pictures, sounds and videos that wait for one of these
  // Of all requests together: files that wait for their decoding, and tensors until their answers
  // have ended.
  int64_t bytes_max = int64_t{1} << 30;
  MediaFetcherOptions fetch;
};

// Brings the media of requests from files to tensors: fetches what is named by URL on the caller's
// strand, decodes on threads of its own. Safe to use from any thread.
class MediaLoader {
 public:
  explicit MediaLoader(const MediaLoaderOptions& options);

  // Moves `request.media` to `request.loaded_media`; nothing to do without any. InvalidParam names
  // the field that is wrong, RESOURCE_EXHAUSTED: too much waits or is held; CANCELLED: the client
  // left.
  boost::asio::awaitable<absl::Status> Load(GenerationRequest& request,
                                            std::shared_ptr<const ServedModel> model,
                                            ClientLeft client_left);

  // Ends the threads, which hold the executors of those that called Load until then: to be called
  // before these go. No Load may follow or still wait.
  void BlockingStop() { pool_.BlockingStop(); }

  int64_t bytes_held() const { return budget_.taken(); }

 private:
  struct Job;
  boost::asio::awaitable<absl::Status> Fetch(std::vector<MediaPart>& parts);
  absl::Status TakeBytes(const std::vector<MediaPart>& parts, ByteBudget::Lease* lease);
  boost::asio::awaitable<absl::Status> Decode(std::shared_ptr<Job> job);

  MediaFetcher fetcher_;
  ByteBudget budget_;
  WorkPool pool_;  // Last, so that it ends first.
};

}  // namespace facet

#endif  // FACET_ROUTER_MEDIA_MEDIA_LOADER_H_
