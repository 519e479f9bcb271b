#ifndef FACET_KERNELS_TICKER_H_
#define FACET_KERNELS_TICKER_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace facet {

// Calls a function again and again on a thread of its own, until that says that it is done, or this
// is stopped. By the steady clock, which absl::Mutex has no waits for: a clock that is set must not
// make a group's ranks look dead.
class Ticker {
 public:
  // At once, then `interval` after each call has ended. `tick` gives back whether to go on.
  Ticker(std::chrono::milliseconds interval, std::function<bool()> tick);
  ~Ticker() { Stop(); }
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

  // Waits for a call that runs; after that there are none. One thread calls it.
  void Stop();

 private:
  void Loop();
  // True: stopped.
  bool WaitInterval();

  const std::chrono::milliseconds interval_;
  const std::function<bool()> tick_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;     // the last, so that it sees the others
};

}  // namespace facet

#endif  // FACET_KERNELS_TICKER_H_
