#include "router/admission/tenants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

using ::testing::HasSubstr;

class TenantsTest : public ::testing::Test {
 protected:
  TenantsTest() {
    // Only BlockingLook looks.
    options_.look_interval = absl::InfiniteDuration();
    options_.file = ::testing::TempDir() + "/tenants.json";
    next_ = ::testing::TempDir() + "/tenants.json.next";
  }

  // Replaces the file as a careful writer does.
  void Write(const std::string& text) {
    std::ofstream(next_) << text;
    ASSERT_EQ(std::rename(next_.c_str(), options_.file.c_str()), 0);
  }
  static std::string Entry(const std::string& name, const std::string& key, int limit = 100) {
    return absl::StrCat(R"({"name":")", name, R"(","keys":[")",
                        absl::BytesToHexString(DigestOfKey(key)), R"("],"requests_per_minute":)",
                        limit, "}");
  }
  static std::string File(const std::string& entries) {
    return absl::StrCat(R"({"tenants":[)", entries, "]}");
  }

  TenantsOptions options_;
  std::string next_;
  RouterMetrics metrics_;
};

// Given two tenants, expect keys to be theirs, and others nobody's.
TEST_F(TenantsTest, KnowsWhoseAKeyIs) {
  Write(File(Entry("a", "key of a") + "," + Entry("b", "key of b")));
  const auto tenants = Tenants::Start(options_, metrics_);
  ASSERT_OK(tenants);
  EXPECT_EQ((*(*tenants)->Find("key of a"))->name(), "a");
  EXPECT_EQ((*(*tenants)->Find("key of b"))->name(), "b");
  const absl::Status missing = (*tenants)->Find("").status();
  EXPECT_TRUE(absl::IsUnauthenticated(missing));
  EXPECT_EQ(CodeOf(missing), "missing_api_key");
  const absl::Status unknown = (*tenants)->Find("key of c").status();
  EXPECT_TRUE(absl::IsUnauthenticated(unknown));
  EXPECT_EQ(CodeOf(unknown), "invalid_api_key");
  EXPECT_THAT(std::string(unknown.message()), ::testing::Not(HasSubstr("key of c")));
}

// Given a key that is replaced, expect the new one alone, and what was used to stay used.
TEST_F(TenantsTest, KeysChangeWhileItRuns) {
  Write(File(Entry("a", "old", 1)));
  const auto tenants = Tenants::Start(options_, metrics_);
  ASSERT_OK(tenants);
  ASSERT_OK(TenantRequest::Begin(*(*tenants)->Find("old")));
  Write(File(Entry("a", "new", 1)));
  (*tenants)->BlockingLook();
  EXPECT_TRUE(absl::IsUnauthenticated((*tenants)->Find("old").status()));
  EXPECT_FALSE(TenantRequest::Begin(*(*tenants)->Find("new")).ok());
  Write(File(""));
  (*tenants)->BlockingLook();
  EXPECT_TRUE(absl::IsUnauthenticated((*tenants)->Find("new").status()));
}

// Given a file that becomes bad or vanishes, expect the last good one, and one log line for each;
// given a good one, expect that.
TEST_F(TenantsTest, ABadFileChangesNothing) {
  Write(File(Entry("a", "key")));
  const auto tenants = Tenants::Start(options_, metrics_);
  ASSERT_OK(tenants);
  ::testing::internal::CaptureStderr();
  Write(R"({"tenants":[{"name":"a","wieght":2}]})");
  for (int i = 0; i < 3; ++i) (*tenants)->BlockingLook();
  EXPECT_OK((*tenants)->Find("key"));
  std::remove(options_.file.c_str());
  for (int i = 0; i < 3; ++i) (*tenants)->BlockingLook();
  EXPECT_OK((*tenants)->Find("key"));
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("tenants[0].wieght"));
  EXPECT_THAT(log, HasSubstr("cannot be read"));
  size_t lines = 0;
  for (size_t at = log.find("tenants not read"); at != log.npos;
       at = log.find("tenants not read", at + 1)) {
    ++lines;
  }
  EXPECT_EQ(lines, 2u);
  Write(File(Entry("a", "other")));
  (*tenants)->BlockingLook();
  EXPECT_OK((*tenants)->Find("other"));
}

// Given a file that is bad or missing at the start, expect an error that names it and the field.
TEST_F(TenantsTest, StartsWithAGoodFileOnly) {
  std::remove(options_.file.c_str());
  const absl::Status missing = Tenants::Start(options_, metrics_).status();
  EXPECT_TRUE(absl::IsNotFound(missing));
  EXPECT_THAT(std::string(missing.message()), HasSubstr(options_.file));
  Write(R"({"tenants":[{"name":"a","weight":-1}]})");
  const absl::Status bad = Tenants::Start(options_, metrics_).status();
  EXPECT_TRUE(absl::IsInvalidArgument(bad));
  EXPECT_THAT(std::string(bad.message()), HasSubstr("tenants[0].weight"));
  EXPECT_THAT(std::string(bad.message()), HasSubstr(options_.file));
}

// Given no file, expect one tenant whatever the key, whose cache all share.
TEST_F(TenantsTest, WithoutAFileAllAreOne) {
  options_.file.clear();
  const auto tenants = Tenants::Start(options_, metrics_);
  ASSERT_OK(tenants);
  EXPECT_EQ(*(*tenants)->Find(""), *(*tenants)->Find("any"));
  const auto request = *TenantRequest::Begin(*(*tenants)->Find(""));
  EXPECT_EQ(request->cache_salt(), "");
  EXPECT_OK(request->CheckModel("any"));
}

// Given more names than labels, expect the rest to be counted as "other".
TEST_F(TenantsTest, LabelsAreBounded) {
  for (int i = 0; i < 150; ++i) {
    metrics_.OfTenant(absl::StrCat("tenant-", i)).admitted_requests->Increment();
  }
  const std::string text = metrics_.registry.Text();
  EXPECT_THAT(text, HasSubstr("{outcome=\"admitted\",tenant=\"tenant-99\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("{outcome=\"admitted\",tenant=\"other\"} 50\n"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("tenant-100")));
}

}  // namespace
}  // namespace facet
