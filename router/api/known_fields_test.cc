#include "router/api/known_fields.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "router/api/openapi.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Given bodies with fields that the document has and others, expect each of the others once for
// each path.
TEST(KnownFieldsTest, GivesBackUnknownFieldsOnce) {
  KnownFields fields((OpenApiDocument()));
  const std::string body =
      R"({"messages":[],"temperature":1,"tools":[],"colour":"red","reasoning_effort":"low"})";
  EXPECT_THAT(fields.TakeUnknown("/v1/chat/completions", body), ElementsAre("colour"));
  EXPECT_THAT(fields.TakeUnknown("/v1/chat/completions", body), IsEmpty());
  EXPECT_THAT(fields.TakeUnknown("/v1/messages", body), ElementsAre("colour", "reasoning_effort"));
  EXPECT_THAT(fields.TakeUnknown("/tokenize", R"({"prompt":"","messages":[]})"), IsEmpty());
  for (const char* other : {"no json", "[]", ""}) {
    EXPECT_THAT(fields.TakeUnknown("/v1/messages", other), IsEmpty());
  }
  EXPECT_THAT(fields.TakeUnknown("/health", body), IsEmpty());
}

// Given ever new names, expect an end.
TEST(KnownFieldsTest, IsBounded) {
  KnownFields fields((OpenApiDocument()));
  size_t given = 0;
  for (int i = 0; i < 1000; ++i) {
    given += fields.TakeUnknown("/v1/messages", absl::StrCat("{\"field", i, "\":1}")).size();
  }
  EXPECT_EQ(given, 256u);
}

}  // namespace
}  // namespace facet
