#include "router/media/media_loader.h"

#include <boost/asio/this_coro.hpp>
#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "router/api/api_error.h"
#include "router/cluster/wake.h"
#include "router/media/loaded_media.h"

namespace facet {

namespace asio = boost::asio;

namespace {

// How often a waiting request looks around; whatever is done wakes it.
constexpr int kWaitMs = 60'000;

absl::Status Busy(absl::string_view message) {
  return WithParam(absl::ResourceExhaustedError(message), "", kMediaBusyCode);
}

}  // namespace

// One request's decoding. Shared by the request's coroutine and the threads, each of which owns
// the slots of its part until `left` says that it is done.
struct MediaLoader::Job {
  std::vector<MediaPart> parts;
  std::vector<absl::StatusOr<DecodedMedia>> results;
  std::shared_ptr<const ServedModel> model;
  ClientLeft client_left;
  std::shared_ptr<Wake> wake;
  std::atomic<size_t> left = 0;
};

MediaLoader::MediaLoader(const MediaLoaderOptions& options)
    : fetcher_(options.fetch),
      budget_(options.bytes_max),
      pool_(options.threads, options.waiting_max) {}

asio::awaitable<absl::Status> MediaLoader::Load(GenerationRequest& request,
                                                std::shared_ptr<const ServedModel> model,
                                                ClientLeft client_left) {
  if (request.media.empty()) co_return absl::OkStatus();
  if (model == nullptr) co_return absl::UnavailableError("No worker is ready; try again later.");
  auto job = std::make_shared<Job>();
  job->parts = std::move(request.media);
  job->model = std::move(model);
  job->client_left = std::move(client_left);
  auto loaded = std::make_shared<LoadedMedia>();
  absl::Status status = TakeBytes(job->parts, &loaded->lease);
  if (status.ok()) status = co_await Fetch(job->parts);
  if (status.ok()) status = co_await Decode(job);
  if (!status.ok()) co_return status;
  int64_t bytes = 0;
  for (absl::StatusOr<DecodedMedia>& result : job->results) {
    if (!result.ok()) co_return result.status();
    loaded->parts.push_back(*std::move(result));
    for (const MediaTensor& tensor : loaded->parts.back().tensors) {
      bytes += static_cast<int64_t>(tensor.data.size());
    }
  }
  loaded->lease.ShrinkTo(bytes);
  request.loaded_media = std::move(loaded);
  co_return absl::OkStatus();
}

// Taken for the worst case before anything is fetched or decoded.
absl::Status MediaLoader::TakeBytes(const std::vector<MediaPart>& parts, ByteBudget::Lease* lease) {
  int64_t bytes = 0;
  for (const MediaPart& part : parts) {
    // Base64 and what it decodes to are there together for a moment.
    const int64_t file = part.url.empty() ? part.base64.size() * 7 / 4 + part.bytes.size()
                                          : MediaFetcher::BytesMax(part.kind);
    bytes += file + DecodedBytesMax(part);
  }
  if (bytes > budget_.bytes_max()) {
    return InvalidParam(parts[0].param,
                        absl::StrCat("The pictures, sounds and videos of this request may need ",
                                     bytes >> 20, " MiB; this server has ",
                                     budget_.bytes_max() >> 20, " MiB for those of all requests."));
  }
  std::optional<ByteBudget::Lease> taken = budget_.Take(bytes);
  if (!taken.has_value()) {
    return Busy("Too many pictures, sounds and videos are in work; try again later.");
  }
  *lease = *std::move(taken);
  return absl::OkStatus();
}

asio::awaitable<absl::Status> MediaLoader::Fetch(std::vector<MediaPart>& parts) {
  for (MediaPart& part : parts) {
    if (part.url.empty()) continue;
    absl::StatusOr<std::string> file =
        co_await fetcher_.Fetch(part.url, MediaFetcher::BytesMax(part.kind));
    if (!file.ok()) {
      co_return InvalidParam(part.param,
                             absl::StrCat("`", part.param, "`: ", file.status().message(), "."));
    }
    part.bytes = *std::move(file);
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> MediaLoader::Decode(std::shared_ptr<Job> job) {
  const size_t count = job->parts.size();
  job->results.resize(count, absl::CancelledError("The client left."));
  job->wake = std::make_shared<Wake>(co_await asio::this_coro::executor);
  job->left = count;
  std::vector<std::function<void()>> work;
  for (size_t i = 0; i < count; ++i) {
    work.push_back([job, i] {
      if (!*job->client_left) {
        job->results[i] = DecodeMedia(std::move(job->parts[i]), job->model->media);
      }
      if (--job->left == 0) job->wake->Set();
    });
  }
  if (!pool_.Add(std::move(work))) {
    co_return Busy("Too many pictures, sounds and videos wait for decoding; try again later.");
  }
  while (job->left > 0) co_await job->wake->Wait(kWaitMs);
  co_return absl::OkStatus();
}

}  // namespace facet
