#include "base/name_lookup.h"

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace facet {

namespace asio = boost::asio;

namespace {

constexpr int kLookupsMax = 32;
std::atomic<int> lookups_running = 0;

// What a waiting coroutine and its thread share; the later of the two frees it.
struct Lookup {
  absl::Mutex mutex;
  // The coroutine's, null once it no longer waits. While it is there, so is its executor.
  asio::steady_timer* timer ABSL_GUARDED_BY(mutex) = nullptr;
  std::optional<absl::StatusOr<Addresses>> answer ABSL_GUARDED_BY(mutex);
};

void BlockingAnswer(const std::string& host, const BlockingNameLookup& lookup,
                    const std::shared_ptr<Lookup>& shared) {
  absl::StatusOr<Addresses> answer = lookup(host);
  lookups_running.fetch_sub(1);
  const absl::MutexLock lock(&shared->mutex);
  shared->answer = std::move(answer);
  if (shared->timer == nullptr) return;
  asio::post(shared->timer->get_executor(), [shared] {
    const absl::MutexLock lock(&shared->mutex);
    if (shared->timer != nullptr) shared->timer->cancel();
  });
}

absl::Status StartThread(std::string host, BlockingNameLookup lookup,
                         std::shared_ptr<Lookup> shared) {
  const absl::Status refused =
      absl::ResourceExhaustedError(absl::StrCat("too many names wait to be resolved: ", host));
  if (lookups_running.fetch_add(1) >= kLookupsMax) {
    lookups_running.fetch_sub(1);
    return refused;
  }
  try {
    std::thread([host = std::move(host), lookup = std::move(lookup), shared = std::move(shared)] {
      BlockingAnswer(host, lookup, shared);
    }).detach();
  } catch (const std::system_error&) {
    lookups_running.fetch_sub(1);
    return refused;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Addresses> BlockingSystemLookup(const std::string& host) {
  asio::io_context context;
  boost::system::error_code error;
  const auto results = asio::ip::tcp::resolver(context).resolve(host, "", error);
  if (error) return absl::UnavailableError(absl::StrCat(host, " is not known: ", error.message()));
  Addresses addresses;
  for (const auto& result : results) addresses.push_back(result.endpoint().address());
  return addresses;
}

asio::awaitable<absl::StatusOr<Addresses>> LookUpName(std::string host,
                                                      std::chrono::steady_clock::time_point end,
                                                      BlockingNameLookup lookup) {
  boost::system::error_code error;
  if (const auto literal = asio::ip::make_address(host, error); !error) {
    co_return Addresses{literal};
  }
  asio::steady_timer timer(co_await asio::this_coro::executor, end);
  const auto shared = std::make_shared<Lookup>();  // with the thread
  {
    const absl::MutexLock lock(&shared->mutex);
    shared->timer = &timer;
  }
  const absl::Cleanup leave = [&] {
    const absl::MutexLock lock(&shared->mutex);
    shared->timer = nullptr;
  };
  if (absl::Status started = StartThread(host, std::move(lookup), shared); !started.ok()) {
    co_return started;
  }
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  const absl::MutexLock lock(&shared->mutex);
  if (shared->answer.has_value()) co_return *std::move(shared->answer);
  co_return absl::DeadlineExceededError(absl::StrCat(host, " was not resolved in time"));
}

}  // namespace facet
