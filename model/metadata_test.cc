#include "model/metadata.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::IsOkAndHolds;
using ::facet::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointee;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Given an integer of each width, expect its value.
TEST(MetadataTest, ReadsEveryIntegerType) {
  Metadata metadata;
  const auto read = [&](Metadata::Value value) {
    metadata.Set("k", std::move(value));
    return metadata.GetInt("k");
  };
  EXPECT_THAT(read(uint8_t{255}), IsOkAndHolds(255));
  EXPECT_THAT(read(int8_t{-128}), IsOkAndHolds(-128));
  EXPECT_THAT(read(uint16_t{65535}), IsOkAndHolds(65535));
  EXPECT_THAT(read(int16_t{-3}), IsOkAndHolds(-3));
  EXPECT_THAT(read(uint32_t{4294967295}), IsOkAndHolds(4294967295));
  EXPECT_THAT(read(int32_t{-4}), IsOkAndHolds(-4));
  EXPECT_THAT(read(int64_t{-5}), IsOkAndHolds(-5));
  EXPECT_THAT(read(uint64_t{6}), IsOkAndHolds(6));
}

// Given an unsigned integer beyond 63 bits, expect an error and no negative number.
TEST(MetadataTest, RefusesIntegerThatDoesNotFit) {
  Metadata metadata;
  metadata.Set("one", std::numeric_limits<uint64_t>::max());
  metadata.Set("many", std::vector<uint64_t>{1, std::numeric_limits<uint64_t>::max()});
  EXPECT_THAT(metadata.GetInt("one"), StatusIs(kInvalid, HasSubstr("'one'")));
  EXPECT_THAT(metadata.GetInts("many"), StatusIs(kInvalid, HasSubstr("'many'")));
  EXPECT_THAT(metadata.GetFloat("one"), IsOkAndHolds(18446744073709551616.0));
}

// Given values of other types than asked for, expect INVALID_ARGUMENT and the key.
TEST(MetadataTest, NamesTheKeyOfAnotherType) {
  Metadata metadata;
  metadata.Set("text", std::string("x"));
  metadata.Set("flag", true);
  metadata.Set("number", 1.5f);
  EXPECT_THAT(metadata.GetInt("number"), StatusIs(kInvalid, HasSubstr("'number'")));
  EXPECT_THAT(metadata.GetInt("flag"), StatusIs(kInvalid, HasSubstr("'flag'")));
  EXPECT_THAT(metadata.GetFloat("flag"), StatusIs(kInvalid, HasSubstr("'flag'")));
  EXPECT_THAT(metadata.GetFloat("text"), StatusIs(kInvalid, HasSubstr("'text'")));
  EXPECT_THAT(metadata.GetBool("number"), StatusIs(kInvalid, HasSubstr("'number'")));
  EXPECT_THAT(metadata.GetString("flag"), StatusIs(kInvalid, HasSubstr("'flag'")));
  EXPECT_THAT(metadata.GetInts("number"), StatusIs(kInvalid, HasSubstr("'number'")));
  EXPECT_THAT(metadata.GetBools("flag"), StatusIs(kInvalid, HasSubstr("'flag'")));
  EXPECT_THAT(metadata.GetStrings("text"), StatusIs(kInvalid, HasSubstr("'text'")));
}

// Given no such key, expect NOT_FOUND and the key from every getter.
TEST(MetadataTest, NamesTheMissingKey) {
  const Metadata metadata;
  const auto missing = StatusIs(absl::StatusCode::kNotFound, HasSubstr("'k'"));
  EXPECT_FALSE(metadata.Has("k"));
  EXPECT_EQ(metadata.Find("k"), nullptr);
  EXPECT_THAT(metadata.GetInt("k"), missing);
  EXPECT_THAT(metadata.GetFloat("k"), missing);
  EXPECT_THAT(metadata.GetBool("k"), missing);
  EXPECT_THAT(metadata.GetString("k"), missing);
  EXPECT_THAT(metadata.GetInts("k"), missing);
  EXPECT_THAT(metadata.GetBools("k"), missing);
  EXPECT_THAT(metadata.GetStrings("k"), missing);
}

// Given arrays, and a key set twice, expect the elements and the later value.
TEST(MetadataTest, ReadsArraysAndLaterValues) {
  Metadata metadata;
  metadata.Set("ints", std::vector<int16_t>{-1, 2});
  metadata.Set("bools", std::vector<bool>{true, false});
  metadata.Set("strings", std::vector<std::string>{"a"});
  metadata.Set("strings", std::vector<std::string>{"b", ""});
  EXPECT_THAT(metadata.GetInts("ints"), IsOkAndHolds(ElementsAre(-1, 2)));
  EXPECT_THAT(metadata.GetBools("bools"), IsOkAndHolds(ElementsAre(true, false)));
  EXPECT_THAT(metadata.GetStrings("strings"), IsOkAndHolds(Pointee(ElementsAre("b", ""))));
}

}  // namespace
}  // namespace facet
