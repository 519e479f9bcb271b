#include "kernels/ticker.h"

#include <utility>

namespace facet {

Ticker::Ticker(std::chrono::milliseconds interval, std::function<bool()> tick)
    : interval_(interval), tick_(std::move(tick)), thread_([this] { Loop(); }) {}

void Ticker::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Ticker::Loop() {
  while (tick_() && !WaitInterval()) {
  }
}

bool Ticker::WaitInterval() {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, interval_, [this] { return stopping_; });
}

}  // namespace facet
