#ifndef FACET_OPS_SIMULATION_EVENT_QUEUE_H_
#define FACET_OPS_SIMULATION_EVENT_QUEUE_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/check.h"

namespace facet {

// Virtual time: what is to happen, in order of time, and of equal times in the order in which it
// was planned. One thread.
class EventQueue {
 public:
  using Action = std::function<void()>;

  double now_s() const { return now_s_; }
  int64_t count() const { return count_; }  // Of what has happened.

  // REQUIRES: time_s >= now_s().
  void At(double time_s, Action action) {
    CHECK_GE(time_s, now_s_);
    heap_.push_back({time_s, next_++, std::move(action)});
    std::push_heap(heap_.begin(), heap_.end(), Later);
  }
  // Lets the next thing happen. False: nothing is planned.
  bool RunNext() {
    if (heap_.empty()) return false;
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    const Event event = std::move(heap_.back());
    heap_.pop_back();
    now_s_ = event.time_s;
    ++count_;
    event.action();
    return true;
  }

 private:
  struct Event {
    double time_s;
    uint64_t number;
    Action action;
  };
  static bool Later(const Event& a, const Event& b) {
    return a.time_s != b.time_s ? a.time_s > b.time_s : a.number > b.number;
  }

  double now_s_ = 0;
  uint64_t next_ = 0;
  int64_t count_ = 0;
  std::vector<Event> heap_;
};

}  // namespace facet

#endif  // FACET_OPS_SIMULATION_EVENT_QUEUE_H_
