#include "base/target_addresses.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

namespace asio = boost::asio;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class TargetAddressesTest : public ::testing::Test {
 protected:
  static std::vector<Target> Parse(const std::vector<std::string>& texts) {
    std::vector<Target> targets;
    for (const std::string& text : texts) targets.push_back(ParseTarget(text).value());
    return targets;
  }
  void Answer(const std::string& name, absl::StatusOr<std::vector<std::string>> addresses) {
    if (!addresses.ok()) {
      answers_.insert_or_assign(name, addresses.status());
      return;
    }
    Addresses parsed;
    for (const std::string& text : *addresses) parsed.push_back(asio::ip::make_address(text));
    answers_.insert_or_assign(name, parsed);
  }
  TargetAddresses Make(const std::vector<std::string>& texts) {
    return {Parse(texts), [this](const std::string& host) { return answers_.at(host); }};
  }
  static void Resolve(TargetAddresses& addresses) {
    asio::io_context context;
    asio::co_spawn(context, addresses.Resolve(std::chrono::minutes(1)), asio::detached);
    context.run();
  }

  std::map<std::string, absl::StatusOr<Addresses>> answers_;
};

// Given a list with names, expect the plain ones at once, and of names all addresses, both kinds of
// them; after another answer, that one.
TEST_F(TargetAddressesTest, FollowsTheAnswers) {
  TargetAddresses addresses = Make({"b:2", "dns:///workers:1", "a:1", "b:2"});
  EXPECT_THAT(addresses.listed(), ElementsAre("a:1", "b:2"));
  EXPECT_THAT(addresses.resolved(), IsEmpty());
  Answer("workers", std::vector<std::string>{"10.0.0.2", "10.0.0.1", "fd00::1"});
  Resolve(addresses);
  EXPECT_THAT(addresses.resolved(), ElementsAre("10.0.0.1:1", "10.0.0.2:1", "[fd00::1]:1"));
  Answer("workers", std::vector<std::string>{"10.0.0.3"});
  Resolve(addresses);
  EXPECT_THAT(addresses.resolved(), ElementsAre("10.0.0.3:1"));
  EXPECT_THAT(addresses.listed(), ElementsAre("a:1", "b:2"));
}

// Given an error or an empty answer, again and again, expect what was known, and one line in the
// log each time that the trouble begins; another name is not concerned.
TEST_F(TargetAddressesTest, TroubleKeepsWhatWasKnown) {
  TargetAddresses addresses = Make({"dns:///one:1", "dns:///two:2"});
  Answer("one", std::vector<std::string>{"10.0.0.1"});
  Answer("two", std::vector<std::string>{"10.0.0.2"});
  Resolve(addresses);
  ::testing::internal::CaptureStderr();
  Answer("two", std::vector<std::string>{"10.0.0.9"});
  for (int i = 0; i < 3; ++i) {
    Answer("one", absl::UnavailableError("the name server is away"));
    Resolve(addresses);
    Answer("one", std::vector<std::string>{});
    Resolve(addresses);
    EXPECT_THAT(addresses.resolved(), ElementsAre("10.0.0.1:1", "10.0.0.9:2"));
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, ::testing::HasSubstr("the name server is away"));
  EXPECT_EQ(log.find("has no addresses"), log.rfind("has no addresses")) << log;
}

// Given the real resolver and the name that every machine has, expect a loopback address.
TEST_F(TargetAddressesTest, LocalhostIsResolved) {
  TargetAddresses addresses(Parse({"dns:///localhost:9381"}), BlockingSystemLookup);
  Resolve(addresses);
  ASSERT_FALSE(addresses.resolved().empty());
  for (const std::string& address : addresses.resolved()) {
    EXPECT_TRUE(absl::StartsWith(address, "127.") || address == "[::1]:9381") << address;
  }
}

}  // namespace
}  // namespace facet
