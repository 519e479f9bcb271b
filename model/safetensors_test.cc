#include "model/safetensors.h"

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/safetensors_writer.h"

namespace facet {
namespace {

using ::facet::testing::IsOkAndHolds;
using ::facet::testing::StatusIs;
using ::facet::testing::WrapSafetensors;
using ::facet::testing::WriteSafetensors;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string ThreeTensors() {
  return WriteSafetensors({{"matrix", "BF16", {3, 2}, "abcdefghijkl"},
                           {"scalar", "F32", {}, "mnop"},
                           {"none", "I8", {0, 7}, ""}});
}

// The error of a file of one tensor "a" whose header entry is `entry`, over 8 bytes of data.
absl::Status ErrorOf(absl::string_view entry) {
  return ParseSafetensors(WrapSafetensors(absl::StrCat("{\"a\":", entry, "}"), "01234567"))
      .status();
}

// Given a matrix, a scalar and a tensor without elements, expect each as it was written.
TEST(SafetensorsTest, GivesBackWhatWasWritten) {
  const std::string file = ThreeTensors();
  ASSERT_OK_AND_ASSIGN(const std::vector<SafetensorsTensor> tensors, ParseSafetensors(file));
  ASSERT_EQ(tensors.size(), 3);
  EXPECT_EQ(tensors[0].name, "matrix");
  EXPECT_EQ(tensors[0].dtype, "BF16");
  EXPECT_THAT(tensors[0].shape, ElementsAre(3, 2));
  EXPECT_EQ(tensors[0].data, "abcdefghijkl");
  EXPECT_THAT(tensors[1].shape, IsEmpty());
  EXPECT_EQ(tensors[1].data, "mnop");
  EXPECT_EQ(tensors[2].data, "");
}

// Given the header's own notes and blanks at its end, as the format allows, expect no tensor more.
TEST(SafetensorsTest, PassesOverNotesAndPadding) {
  const std::string file =
      WrapSafetensors(R"({"__metadata__":{"format":"pt"},)"
                      R"("a":{"dtype":"I16","shape":[1],"data_offsets":[0,2]}}    )",
                      "xy");
  ASSERT_OK_AND_ASSIGN(const std::vector<SafetensorsTensor> tensors, ParseSafetensors(file));
  ASSERT_EQ(tensors.size(), 1);
  EXPECT_EQ(tensors[0].data, "xy");
}

// Given each shorter prefix of a file, expect an error.
TEST(SafetensorsTest, RefusesEveryTruncation) {
  const std::string file = ThreeTensors();
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_THAT(ParseSafetensors(absl::string_view(file).substr(0, size)),
                StatusIs(kInvalid, HasSubstr("safetensors")))
        << size;
  }
}

// Given random bytes changed (seed 2), expect a status or tensors within the file.
TEST(SafetensorsTest, SurvivesChangedBytes) {
  const std::string file = ThreeTensors();
  std::mt19937 random(2);
  for (int i = 0; i < 20000; ++i) {
    std::string changed = file;
    for (int k = 0; k < 2; ++k) changed[random() % changed.size()] = static_cast<char>(random());
    const auto tensors = ParseSafetensors(changed);
    if (!tensors.ok()) continue;
    for (const SafetensorsTensor& tensor : *tensors) {
      EXPECT_GE(tensor.data.data(), changed.data());
      EXPECT_LE(tensor.data.data() + tensor.data.size(), changed.data() + changed.size());
    }
  }
}

// Given a header size that no file can have, expect it named; nothing is allocated for it.
TEST(SafetensorsTest, RefusesHeaderLargerThanTheFile) {
  EXPECT_THAT(ParseSafetensors(std::string(8, '\xFF')), StatusIs(kInvalid, HasSubstr("header of")));
  EXPECT_THAT(ParseSafetensors(std::string("\x03\0\0\0\0\0\0\0{}", 10)),
              StatusIs(kInvalid, HasSubstr("header of 3 bytes")));
}

// Given an entry with one field wrong, expect the tensor and the field in the message.
TEST(SafetensorsTest, NamesTheWrongField) {
  const struct {
    absl::string_view entry, field;
  } cases[] = {
      {R"(7)", "entry is not an object"},
      {R"({"shape":[2],"data_offsets":[0,8]})", "dtype is not a string"},
      {R"({"dtype":1,"shape":[2],"data_offsets":[0,8]})", "dtype is not a string"},
      {R"({"dtype":"F31","shape":[2],"data_offsets":[0,8]})", "dtype 'F31'"},
      {R"({"dtype":"F32","data_offsets":[0,8]})", "shape is not an array"},
      {R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})", "shape is not whole numbers"},
      {R"({"dtype":"F32","shape":[1.5],"data_offsets":[0,8]})", "shape is not whole numbers"},
      {R"({"dtype":"F32","shape":["2"],"data_offsets":[0,8]})", "shape is not whole numbers"},
      {R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]})", "too many axes"},
      {R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})", "overflows"},
      {R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})", "need 12 bytes"},
      {R"({"dtype":"F32","shape":[2]})", "data_offsets is not an array"},
      {R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})", "data_offsets is not [begin, end]"},
      {R"({"dtype":"F32","shape":[2],"data_offsets":[0]})", "data_offsets is not [begin, end]"},
      {R"({"dtype":"F32","shape":[2],"data_offsets":[-8,0]})", "data_offsets is not whole"},
      {R"({"dtype":"F32","shape":[2],"data_offsets":[4,12]})", "data_offsets end at 12"},
      {R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", "data_offsets begin at 4"},
  };
  for (const auto& [entry, field] : cases) {
    EXPECT_THAT(ErrorOf(entry), StatusIs(kInvalid, AllOf(HasSubstr("'a'"), HasSubstr(field))))
        << entry;
  }
  EXPECT_THAT(ErrorOf(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"),
              StatusIs(kInvalid, HasSubstr("data_offsets end at 4, the file has 8")));
}

// Given two tensors that share bytes, expect the second one's name.
TEST(SafetensorsTest, RefusesOverlappingData) {
  const std::string file =
      WrapSafetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                      R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                      "0123456789ab");
  EXPECT_THAT(ParseSafetensors(file),
              StatusIs(kInvalid, AllOf(HasSubstr("'b'"), HasSubstr("begin at 4"))));
}

// Given a name that stands twice, expect the gap that the first of the two leaves.
TEST(SafetensorsTest, RefusesNameThatStandsTwice) {
  const std::string file =
      WrapSafetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                      R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                      "01234567");
  EXPECT_THAT(ParseSafetensors(file), StatusIs(kInvalid, HasSubstr("'a': data_offsets begin")));
}

// Given a header that is no JSON object, expect "header".
TEST(SafetensorsTest, RefusesHeaderThatIsNoObject) {
  for (const absl::string_view header : {"", "[]", "{", "{}}", "null", "{\"a\"}", "{\"a\":\xFF}"}) {
    EXPECT_THAT(ParseSafetensors(WrapSafetensors(header, "")),
                StatusIs(kInvalid, HasSubstr("safetensors header")))
        << header;
  }
  // 65 lists in each other.
  EXPECT_THAT(ParseSafetensors(WrapSafetensors(absl::StrCat("{\"a\":", std::string(65, '[')), "")),
              StatusIs(kInvalid, HasSubstr("safetensors header")));
}

// Given an index of two files, expect each file once.
TEST(SafetensorsIndexTest, GivesEachFileOnce) {
  EXPECT_THAT(ParseSafetensorsIndex(R"({"metadata":{"total_size":3},
                  "weight_map":{"x":"b.safetensors","y":"a.safetensors","z":"b.safetensors"}})"),
              IsOkAndHolds(ElementsAre("a.safetensors", "b.safetensors")));
}

// Given an index that is wrong or leaves its folder, expect the entry's name.
TEST(SafetensorsIndexTest, NamesTheWrongEntry) {
  for (const absl::string_view text : {"[]", "{}", R"({"weight_map":[]})"}) {
    EXPECT_THAT(ParseSafetensorsIndex(text), StatusIs(kInvalid, HasSubstr("weight_map")));
  }
  for (const absl::string_view file : {"7", "\"\"", "\"../x\"", "\"/etc/passwd\"", "null"}) {
    EXPECT_THAT(ParseSafetensorsIndex(absl::StrCat(R"({"weight_map":{"x":)", file, "}}")),
                StatusIs(kInvalid, HasSubstr("weight_map['x']")));
  }
}

}  // namespace
}  // namespace facet
