#ifndef FACET_WORKER_TESTING_FAKE_PEERS_H_
#define FACET_WORKER_TESTING_FAKE_PEERS_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "worker/peer_source.h"

namespace facet::testing {

// Other workers that give what the test says, when it says so. For one thread.
class FakePeers final : public PeerSource {
 public:
  // The contents of a page; empty: absent.
  using Reader = std::function<std::string(const PoolKey& page)>;
  explicit FakePeers(Reader reader) : reader_(std::move(reader)) {}

  void Start(std::function<void()>) override {}
  uint64_t Pull(const std::string& address, std::vector<PageCopy> pages,
                absl::Duration timeout) override {
    last_address = address;
    last_timeout = timeout;
    asked += static_cast<int>(pages.size());
    ++last_pull_;
    for (const PageCopy& page : pages) queue_.emplace_back(last_pull_, page);
    return last_pull_;
  }
  void Cancel(uint64_t pull) override {
    const auto rest = std::stable_partition(queue_.begin(), queue_.end(),
                                            [&](const auto& item) { return item.first != pull; });
    cancelled += static_cast<int>(queue_.end() - rest);
    for (auto item = rest; item != queue_.end(); ++item) Complete(item->second, false);
    queue_.erase(rest, queue_.end());
  }
  std::vector<PageCopy> TakeCompleted() override { return std::exchange(completed_, {}); }
  void BlockingStop() override {
    while (RunOnce(/*well=*/false)) {
    }
  }
  double bytes_per_s() const override { return rate; }
  PeerStats stats() const override { return stats_; }

  // Gives the page that was asked for first, or fails to. False: none was.
  bool RunOnce(bool well = true) {
    if (queue_.empty()) return false;
    const PageCopy page = queue_.front().second;
    queue_.pop_front();
    const std::string contents = well ? reader_(page.key) : "";
    std::copy(contents.begin(), contents.end(), page.memory);
    Complete(page, !contents.empty());
    return true;
  }

  double rate = 0;  // that it says it measured
  std::string last_address;
  absl::Duration last_timeout;
  int asked = 0, cancelled = 0;  // pages

 private:
  void Complete(PageCopy page, bool ok) {
    page.ok = ok;
    completed_.push_back(page);
    ++(ok ? stats_.pages : stats_.missed);
  }

  const Reader reader_;
  uint64_t last_pull_ = 0;
  std::deque<std::pair<uint64_t, PageCopy>> queue_;
  std::vector<PageCopy> completed_;
  PeerStats stats_;
};

}  // namespace facet::testing

#endif  // FACET_WORKER_TESTING_FAKE_PEERS_H_
