#include "router/api/multipart.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kType[] = "multipart/form-data; boundary=xyz";

std::string Field(const std::string& header, const std::string& value) {
  return absl::StrCat("--xyz\r\n", header, "\r\n\r\n", value, "\r\n");
}
std::string Named(const std::string& name, const std::string& value) {
  return Field(absl::StrCat("Content-Disposition: form-data; name=\"", name, "\""), value);
}

// Given a form as browsers and libraries write it, expect its fields.
TEST(MultipartTest, ReadsForms) {
  const std::string binary("\r\n--xy\0\r\n--", 11);
  const std::string body =
      absl::StrCat(Named("model", "m"),
                   Field("Content-Type: audio/wav\r\ncontent-disposition:form-data; NAME=\"file\"; "
                         "filename=\"a \\\"b\\\";\\c.wav\"\r\nContent-Transfer-Encoding: binary",
                         binary),
                   Named("empty", ""), "--xyz--\r\n");
  for (const char* type : {kType, "Multipart/Form-Data; charset=utf-8; boundary=\"xyz\""}) {
    ASSERT_OK_AND_ASSIGN(const std::vector<FormField> fields, ParseMultipart(type, body));
    ASSERT_EQ(fields.size(), 3u);
    EXPECT_EQ(fields[0].name, "model");
    EXPECT_EQ(fields[0].value, "m");
    EXPECT_EQ(fields[0].filename, "");
    EXPECT_EQ(fields[1].name, "file");
    EXPECT_EQ(fields[1].filename, "a \"b\";\\c.wav");
    EXPECT_EQ(fields[1].value, binary);
    EXPECT_EQ(fields[2].value, "");
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<FormField> none, ParseMultipart(kType, "--xyz--"));
  EXPECT_TRUE(none.empty());
}

// Given each way to be broken, expect an error that says so.
TEST(MultipartTest, RefusesBrokenForms) {
  std::string many;
  for (int i = 0; i < 33; ++i) many += Named("a", "b");
  const std::string end = "--xyz--\r\n";
  const struct {
    std::string type, body, what;
  } kCases[] = {
      {"application/json", Named("a", "b") + end, "Content-Type"},
      {"", Named("a", "b") + end, "Content-Type"},
      {"multipart/form-data", Named("a", "b") + end, "boundary"},
      {"multipart/form-data; boundary=", Named("a", "b") + end, "boundary"},
      {"multipart/form-data; boundary=\"xyz", Named("a", "b") + end, "Content-Type"},
      {"multipart/form-data; boundary=" + std::string(71, 'x'), "", "boundary"},
      {"multipart/form-data; boundary=a\tb", "", "boundary"},
      {kType, "", "begin"},
      {kType, "preamble\r\n" + Named("a", "b") + end, "begin"},
      {kType, "--xyz", "line break"},
      {kType, "--xyzw\r\n\r\n", "line break"},
      {kType, Named("a", "b"), "end with"},
      {kType, "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb", "end"},
      {kType, "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\nb" + end, "header"},
      {kType, Field("Content-Disposition: form-data", "b") + end, "name"},
      {kType, Field("Content-Disposition: form-data; name=\"\"", "b") + end, "name"},
      {kType, Field("Content-Disposition: form-data; name=\"a", "b") + end, "form-data"},
      {kType, Field("Content-Disposition: attachment; name=\"a\"", "b") + end, "form-data"},
      {kType, Field("Content-Disposition", "b") + end, "colon"},
      {kType, Field("X: " + std::string(9000, 'x'), "b") + end, "8192"},
      {kType,
       Field("Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64",
             "b") +
           end,
       "plain bytes"},
      {kType, many + end, "32 fields"},
      {kType, Named("a", "b") + end + "more", "goes on"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(ParseMultipart(c.type, c.body),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.what)))
        << c.type << "\n"
        << c.body;
  }
}

}  // namespace
}  // namespace facet
