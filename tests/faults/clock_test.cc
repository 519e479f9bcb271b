// What a clock that jumps does to a router: nothing. All waits are measured by the steady clock.

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <random>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "router/router.h"
#include "tests/fake_worker/fake_worker.h"
#include "tests/faults/seed.h"
#include "tests/router_fixture.h"

namespace {
std::atomic<int64_t> jumped_s = 0;
}  // namespace

// In place of the C library's, for this program and all libraries in it.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const auto result = static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  if (clock == CLOCK_REALTIME) time->tv_sec += jumped_s;
  return result;
}

namespace facet {
namespace {

using ::facet::testing::Client;
using ::facet::testing::Content;
using ::facet::testing::Events;
using ::facet::testing::Response;
using ::facet::testing::RouterTest;
using ::facet::testing::SeededRandom;

class ClockTest : public RouterTest {
 protected:
  ~ClockTest() override { jumped_s = 0; }
  std::mt19937 random_ = SeededRandom();
};

// Given that the clock is seen to jump, expect the test to be one.
TEST_F(ClockTest, IsReplaced) {
  const auto before = std::chrono::system_clock::now();
  jumped_s = 86'400;
  EXPECT_GT(std::chrono::system_clock::now() - before, std::chrono::hours(23));
}

// Given a clock that jumps by up to a day, forward and back, before each request and within
// streams, expect each to be answered whole, and none to wait for it; a worker that dies meanwhile
// is noticed.
TEST_F(ClockTest, JumpsHarmNobody) {
  StartAll(2);
  const auto jump = [&] { jumped_s = static_cast<int64_t>(random_() % (2 * 86'400)) - 86'400; };
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 50; ++i) {
    HoldAll(random_() % 5);
    Client client = Connect();
    client.Write(
        Client::RequestText("POST", "/v1/chat/completions", testing::ChatBody(R"("stream":true)")));
    AwaitBusy();
    jump();
    for (const auto& worker : workers_) worker->Release();
    const Response response = client.ReadResponse();
    ASSERT_EQ(response.status, 200) << response.body;
    ASSERT_EQ(Content(Events(response.body)), kAnswer);
  }
  workers_[0]->Kill();
  jump();
  AwaitWorker(workers_[0]->address(), false);
  EXPECT_EQ(Chat().status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::minutes(1));
}

}  // namespace
}  // namespace facet
