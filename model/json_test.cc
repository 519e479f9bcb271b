#include "model/json.h"

#include <boost/json.hpp>
#include <string>

#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Given a value with blanks around it, expect the value.
TEST(JsonTest, ReadsOneValue) {
  ASSERT_OK_AND_ASSIGN(const boost::json::value value, ParseJson(" {\"a\": [1, 2.5]}\n", "x"));
  EXPECT_EQ(value.at("a").as_array()[0], 1);
  EXPECT_EQ(value.at("a").as_array()[1], 2.5);
}

// Given text that is not one JSON value, expect what was read and the byte.
TEST(JsonTest, NamesWhatAndWhere) {
  for (const absl::string_view text :
       {"", " ", "{", "[1,]", "{\"a\":1", "1 2", "{} {}", "nul", "\"\xFF\"", "NaN", "'a'"}) {
    EXPECT_THAT(ParseJson(text, "the thing"),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("the thing"), HasSubstr("at byte"))))
        << text;
  }
}

// Given 64 lists in each other, expect them read; given one more, expect a refusal.
TEST(JsonTest, BoundsNesting) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_OK(ParseJson(nested(64), "x"));
  EXPECT_THAT(ParseJson(nested(65), "x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at byte")));
  EXPECT_FALSE(ParseJson(std::string(1'000'000, '['), "x").ok());
}

}  // namespace
}  // namespace facet
