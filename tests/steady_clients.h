#ifndef FACET_TESTS_STEADY_CLIENTS_H_
#define FACET_TESTS_STEADY_CLIENTS_H_

#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/router_fixture.h"

namespace facet::testing {

// Threads that ask a router for one stream after the other, until this ends, and hold each to what
// it must be.
class SteadyClients {
 public:
  SteadyClients(int port, int count, std::string answer) : port_(port), answer_(std::move(answer)) {
    for (int i = 0; i < count; ++i) threads_.emplace_back([this] { Run(); });
  }
  ~SteadyClients() {
    done_ = true;
    for (std::thread& thread : threads_) thread.join();
  }
  SteadyClients(const SteadyClients&) = delete;
  SteadyClients& operator=(const SteadyClients&) = delete;

  // Until so many more answers have come.
  void AwaitMore(int count) {
    const int before = answers_;
    while (answers_ < before + count) std::this_thread::yield();
  }

 private:
  void Run() {
    while (!done_) {
      const Response response =
          Client(port_).Send("POST", "/v1/chat/completions", ChatBody(R"("stream":true)"));
      EXPECT_EQ(response.status, 200) << response.body;
      if (response.status == 200) {
        EXPECT_EQ(Content(Events(response.body)), answer_);
      }
      ++answers_;
    }
  }

  const int port_;
  const std::string answer_;
  std::atomic<bool> done_ = false;
  std::atomic<int> answers_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace facet::testing

#endif  // FACET_TESTS_STEADY_CLIENTS_H_
