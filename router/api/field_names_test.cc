#include "router/api/field_names.h"

#include "gtest/gtest.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

// Given names of a whole and of its parts, expect the longest that fits, in field and message.
TEST(FieldNamesTest, RenamesTheLongest) {
  FieldNames names;
  names.Add("messages", "input");
  names.Add("messages[1]", "input[3]");
  names.Add("messages[1].content[0]", "input[3].content[2]");
  const auto renamed = [&](const char* field) {
    return ParamOf(names.Rename(InvalidParam(field, "wrong")));
  };
  EXPECT_EQ(renamed("messages"), "input");
  EXPECT_EQ(renamed("messages[1].role"), "input[3].role");
  EXPECT_EQ(renamed("messages[1].content[0].text"), "input[3].content[2].text");
  EXPECT_EQ(renamed("messages[10].role"), "input[10].role");
  EXPECT_EQ(renamed("messages_are_other"), "messages_are_other");
  EXPECT_EQ(renamed("temperature"), "temperature");
}

// Given an error, expect the field renamed where the message names it, the rest as it was.
TEST(FieldNamesTest, RenamesInMessages) {
  FieldNames names;
  names.Add("stop", "stop_sequences");
  const absl::Status quoted =
      names.Rename(InvalidParam("stop[1]", "`stop[1]` must be a string; stop.", "some_code"));
  EXPECT_EQ(quoted.message(), "`stop_sequences[1]` must be a string; stop.");
  EXPECT_EQ(CodeOf(quoted), "some_code");
  EXPECT_EQ(names.Rename(InvalidParam("stop", "stop is wrong")).message(),
            "stop_sequences is wrong");
  const absl::Status other = absl::UnavailableError("stop now");
  EXPECT_EQ(names.Rename(other), other);
}

}  // namespace
}  // namespace facet
