#ifndef FACET_ROUTER_CLUSTER_WAKE_H_
#define FACET_ROUTER_CLUSTER_WAKE_H_

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>

namespace facet {

// How other threads tell a coroutine that something came: an event that any thread sets and one
// coroutine waits for. Shared by both sides, so a late Set is harmless.
class Wake : public std::enable_shared_from_this<Wake> {
 public:
  // `executor` is a strand (or an io_context of one thread): the coroutine's own.
  explicit Wake(boost::asio::any_io_executor executor);

  // From any thread. Many calls before the coroutine runs cost one wake-up.
  void Set();
  // Returns when Set was called since the last Wait returned, or after `timeout_ms`, or early for
  // no reason: look again at what is waited for. Only from the coroutine on the executor.
  boost::asio::awaitable<void> Wait(int timeout_ms);

 private:
  boost::asio::steady_timer timer_;
  std::atomic<bool> set_ = false;
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_WAKE_H_
