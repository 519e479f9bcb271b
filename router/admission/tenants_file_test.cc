#include "router/admission/tenants_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kDigest(64, 'a');

// A file with one tenant of these fields.
absl::StatusOr<std::vector<TenantOptions>> ParseOne(const std::string& fields) {
  return ParseTenantsFile(absl::StrCat(R"({"tenants":[{)", fields, "}]}"));
}

// Given all fields, expect them as they stand there.
TEST(TenantsFileTest, ReadsAllFields) {
  const auto tenants = ParseOne(absl::StrCat(
      R"("name":"team-a","keys":[")", kDigest, R"("],"weight":2.5,"requests_per_minute":600,)",
      R"("tokens_per_minute":20000,"concurrent_requests":8,"priority_min":-1,"priority_max":3,)",
      R"("models":["gemma","gemma:pirate"],"share_cache":true)"));
  ASSERT_OK(tenants);
  const TenantOptions& tenant = tenants->at(0);
  EXPECT_EQ(tenant.name, "team-a");
  EXPECT_THAT(tenant.key_digests, ElementsAre(std::string(32, '\xaa')));
  EXPECT_EQ(tenant.weight, 2.5);
  EXPECT_EQ(tenant.requests_per_minute, 600);
  EXPECT_EQ(tenant.tokens_per_minute, 20000);
  EXPECT_EQ(tenant.concurrent_requests, 8);
  EXPECT_EQ(tenant.priority_min, -1);
  EXPECT_EQ(tenant.priority_max, 3);
  EXPECT_THAT(tenant.models, ElementsAre("gemma", "gemma:pirate"));
  EXPECT_TRUE(tenant.share_cache);
}

// Given a name alone, expect no limits, all models, and a cache of its own.
TEST(TenantsFileTest, HasDefaults) {
  const auto tenants = ParseOne(R"("name":"a")");
  ASSERT_OK(tenants);
  const TenantOptions& tenant = tenants->at(0);
  EXPECT_TRUE(tenant.key_digests.empty());
  EXPECT_EQ(tenant.weight, 1);
  EXPECT_EQ(tenant.requests_per_minute, 0);
  EXPECT_EQ(tenant.tokens_per_minute, 0);
  EXPECT_EQ(tenant.concurrent_requests, 0);
  EXPECT_EQ(tenant.priority_min, 0);
  EXPECT_EQ(tenant.priority_max, 0);
  EXPECT_THAT(tenant.models, ElementsAre("*"));
  EXPECT_FALSE(tenant.share_cache);
}

// Given one bound of the priority, expect the other to leave 0 allowed where that fits.
TEST(TenantsFileTest, OneBoundOfThePriorityIsEnough) {
  EXPECT_EQ(ParseOne(R"("name":"a","priority_max":5)")->at(0).priority_min, 0);
  EXPECT_EQ(ParseOne(R"("name":"a","priority_min":-5)")->at(0).priority_max, 0);
  EXPECT_EQ(ParseOne(R"("name":"a","priority_min":5)")->at(0).priority_max, 5);
  EXPECT_EQ(ParseOne(R"("name":"a","priority_max":-5)")->at(0).priority_min, -5);
}

// Given each bad field, expect it named.
TEST(TenantsFileTest, NamesEachBadField) {
  const struct {
    std::string fields;
    std::string param;
    std::string message;
  } kCases[] = {
      {R"("weight":1)", "tenants[0].name", "required"},
      {R"("name":7)", "tenants[0].name", "a string"},
      {R"("name":"")", "tenants[0].name", "letters"},
      {R"("name":"a b")", "tenants[0].name", "letters"},
      {R"("name":"a","keys":"x")", "tenants[0].keys", "a list"},
      {R"("name":"a","keys":[1])", "tenants[0].keys[0]", "a string"},
      {R"("name":"a","keys":["sk-secret"])", "tenants[0].keys[0]", "sha256sum"},
      {absl::StrCat(R"("name":"a","keys":[")", std::string(64, 'A'), "\"]"), "tenants[0].keys[0]",
       "lower case"},
      {absl::StrCat(R"("name":"a","keys":[")", kDigest, "\",\"", kDigest, "\"]"),
       "tenants[0].keys[1]", "twice"},
      {R"("name":"a","weight":0)", "tenants[0].weight", "from 0.01"},
      {R"("name":"a","weight":"2")", "tenants[0].weight", "a number"},
      {R"("name":"a","requests_per_minute":0)", "tenants[0].requests_per_minute", "from 1"},
      {R"("name":"a","requests_per_minute":1.5)", "tenants[0].requests_per_minute", "whole"},
      {R"("name":"a","tokens_per_minute":-1)", "tenants[0].tokens_per_minute", "from 1"},
      {R"("name":"a","concurrent_requests":true)", "tenants[0].concurrent_requests", "whole"},
      {R"("name":"a","priority_min":2,"priority_max":1)", "tenants[0].priority_min", "at most"},
      {R"("name":"a","models":"x")", "tenants[0].models", "a list"},
      {R"("name":"a","models":[null])", "tenants[0].models[0]", "a string"},
      {R"("name":"a","share_cache":1)", "tenants[0].share_cache", "true or false"},
      {R"("name":"a","request_per_minute":1)", "tenants[0].request_per_minute", "unknown"},
      {R"("name":"a"},{"name":"a")", "tenants[1].name", "twice"},
  };
  for (const auto& test : kCases) {
    const absl::Status status = ParseOne(test.fields).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << test.fields;
    EXPECT_EQ(ParamOf(status), test.param) << test.fields << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.message)) << test.fields;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.param)) << test.fields;
  }
}

// Given a file of another shape, expect an error; given a key in plain text, expect it not
// repeated.
TEST(TenantsFileTest, RefusesOtherShapes) {
  for (const char* text : {"", "[]", "{}", R"({"tenants":{}})", R"({"tenants":[1]})",
                           R"({"tenants":[],"tenant":[]})", R"({"tenants":[)"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseTenantsFile(text).status())) << text;
  }
  EXPECT_THAT(std::string(ParseOne(R"("name":"a","keys":["sk-secret"])").status().message()),
              ::testing::Not(HasSubstr("sk-secret")));
}

// Expect the digest that `printf %s secret | sha256sum` prints.
TEST(TenantsFileTest, DigestIsThatOfSha256sum) {
  EXPECT_EQ(absl::BytesToHexString(DigestOfKey("secret")),
            "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b");
}

}  // namespace
}  // namespace facet
