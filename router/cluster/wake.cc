#include "router/cluster/wake.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

namespace facet {

namespace asio = boost::asio;

Wake::Wake(asio::any_io_executor executor) : timer_(std::move(executor)) {}

void Wake::Set() {
  if (set_.exchange(true)) return;
  asio::post(timer_.get_executor(), [self = shared_from_this()] { self->timer_.cancel(); });
}

asio::awaitable<void> Wake::Wait(int timeout_ms) {
  if (set_.exchange(false)) co_return;
  timer_.expires_after(std::chrono::milliseconds(timeout_ms));
  co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  set_.exchange(false);
}

}  // namespace facet
