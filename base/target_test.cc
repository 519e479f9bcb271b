#include "base/target.h"

#include <string>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

// Given names and addresses, with and without dns:///, expect host and port.
TEST(TargetTest, Parses) {
  struct Case {
    const char* text;
    const char* host;
    int port;
    bool all;
  };
  for (const Case& c :
       {Case{"worker-0:9381", "worker-0", 9381, false}, Case{"10.0.0.5:1", "10.0.0.5", 1, false},
        Case{"[fd00::5]:65535", "fd00::5", 65535, false},
        Case{"dns:///workers.facet.svc:9381", "workers.facet.svc", 9381, true}}) {
    ASSERT_OK_AND_ASSIGN(const Target target, ParseTarget(c.text));
    EXPECT_EQ(target.host, c.host) << c.text;
    EXPECT_EQ(target.port, c.port) << c.text;
    EXPECT_EQ(target.all_addresses, c.all) << c.text;
  }
}

// Given what is neither, expect an error that quotes it.
TEST(TargetTest, Refuses) {
  for (const char* text : {"", "worker", ":9381", "worker:", "worker:0", "worker:65536", "worker:x",
                           "fd00::5:9381", "[worker]:9381", "[fd00::5:9381", "a b:9381",
                           "dns:///:9381", "dns:///workers", "http://worker:80", "worker\n:9381"}) {
    EXPECT_THAT(ParseTarget(text).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  }
  EXPECT_THAT(ParseTarget(std::string(300, 'a') + ":9381").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not host:port")));
}

// Given dns:/// where one place is asked for, expect a refusal.
TEST(TargetTest, OneTargetHasNoName) {
  ASSERT_OK(ParseOneTarget("worker-0:9381").status());
  EXPECT_THAT(ParseOneTarget("dns:///workers:9381").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("several addresses")));
}

TEST(TargetTest, Wildcards) {
  for (const char* host : {"", "0.0.0.0", "::"}) EXPECT_TRUE(IsWildcardHost(host)) << host;
  for (const char* host : {"127.0.0.1", "worker", "::1"}) EXPECT_FALSE(IsWildcardHost(host));
}

}  // namespace
}  // namespace facet
