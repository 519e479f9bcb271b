#include "base/name_lookup.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

namespace asio = boost::asio;
using ::facet::testing::StatusIs;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

constexpr auto kLong = std::chrono::minutes(10);
constexpr auto kShort = std::chrono::milliseconds(20);

absl::StatusOr<Addresses> LookUp(const std::string& host, Clock::duration within,
                                 BlockingNameLookup lookup = BlockingSystemLookup) {
  asio::io_context context;
  auto answer = asio::co_spawn(context, LookUpName(host, Clock::now() + within, std::move(lookup)),
                               asio::use_future);
  context.run();
  return answer.get();
}

// Given names and addresses, expect what the lookup says; addresses need none.
TEST(NameLookupTest, Answers) {
  const Addresses expected = {asio::ip::make_address("192.0.2.7")};
  EXPECT_THAT(LookUp("a.example", kLong, [&](const std::string&) { return expected; }),
              testing::IsOkAndHolds(expected));
  EXPECT_THAT(LookUp("b.example", kLong,
                     [](const std::string& host) -> absl::StatusOr<Addresses> {
                       return absl::UnavailableError(host + " is not known");
                     }),
              StatusIs(absl::StatusCode::kUnavailable, "b.example is not known"));
  EXPECT_THAT(LookUp("192.0.2.7", kLong,
                     [](const std::string&) -> absl::StatusOr<Addresses> {
                       return absl::InternalError("asked for an address");
                     }),
              testing::IsOkAndHolds(expected));
  ASSERT_OK_AND_ASSIGN(const Addresses loopback, LookUp("localhost", kLong));
  for (const auto& address : loopback) EXPECT_TRUE(address.is_loopback()) << address;
}

// Given lookups that hang, expect each to end at its deadline and not to hold up others; given as
// many as there may be, expect the next to be refused; given that they come back, expect room
// again.
TEST(NameLookupTest, HangingLookupsAreLeftBehind) {
  constexpr int kMost = 32;
  absl::Notification release;
  absl::BlockingCounter ended(kMost);
  const BlockingNameLookup hang = [&](const std::string&) -> absl::StatusOr<Addresses> {
    release.WaitForNotification();
    ended.DecrementCount();
    return Addresses();
  };
  for (int i = 0; i < kMost; ++i) {
    EXPECT_THAT(LookUp("slow.example", kShort, hang),
                StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("slow.example")));
    if (i == 0) {
      EXPECT_OK(LookUp("fast.example", kLong, [](const std::string&) { return Addresses(); }));
    }
  }
  EXPECT_THAT(LookUp("late.example", kLong, hang),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("late.example")));
  release.Notify();
  ended.Wait();
  const auto deadline = Clock::now() + kLong;
  while (!LookUp("late.example", kLong, [](const std::string&) { return Addresses(); }).ok()) {
    ASSERT_LT(Clock::now(), deadline);
  }
}

// Given an event loop that ends while a name is looked up, expect nothing to happen afterwards.
TEST(NameLookupTest, OutlivesItsEventLoop) {
  absl::Notification release, returned;
  {
    asio::io_context context;
    auto answer = asio::co_spawn(context,
                                 LookUpName("slow.example", Clock::now() + kLong,
                                            [&](const std::string&) -> absl::StatusOr<Addresses> {
                                              release.WaitForNotification();
                                              returned.Notify();
                                              return Addresses();
                                            }),
                                 asio::use_future);
    context.poll();
  }
  release.Notify();
  returned.WaitForNotification();
}

}  // namespace
}  // namespace facet
