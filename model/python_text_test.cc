#include "model/python_text.h"

#include "gtest/gtest.h"

namespace facet {
namespace {

// Given numbers at the borders of Python's forms: expect what its repr prints.
TEST(PythonTextTest, FloatsAreWrittenAsPythonWritesThem) {
  EXPECT_EQ(PythonFloat(0.0), "0.0");
  EXPECT_EQ(PythonFloat(-0.0), "-0.0");
  EXPECT_EQ(PythonFloat(2), "2.0");
  EXPECT_EQ(PythonFloat(-1.5), "-1.5");
  EXPECT_EQ(PythonFloat(120), "120.0");
  EXPECT_EQ(PythonFloat(0.1), "0.1");
  EXPECT_EQ(PythonFloat(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(PythonFloat(0.0001), "0.0001");
  EXPECT_EQ(PythonFloat(0.00012), "0.00012");
  EXPECT_EQ(PythonFloat(0.00001), "1e-05");
  EXPECT_EQ(PythonFloat(1.25e-7), "1.25e-07");
  EXPECT_EQ(PythonFloat(1e15), "1000000000000000.0");
  EXPECT_EQ(PythonFloat(1e16), "1e+16");
  EXPECT_EQ(PythonFloat(12345678901234567.0), "1.2345678901234568e+16");
  EXPECT_EQ(PythonFloat(1e20), "1e+20");
  EXPECT_EQ(PythonFloat(1.5e300), "1.5e+300");
  EXPECT_EQ(PythonFloat(5e-324), "5e-324");
}

TEST(PythonTextTest, StripTakesUnicodeWhiteSpace) {
  EXPECT_EQ(PythonStrip(" \t\n\r\v\f\x1C\x1F"
                        "a b\u00A0\u3000\u2028\u200A"),
            "a b");
  EXPECT_EQ(PythonStrip("\u0085"), "");
  EXPECT_EQ(PythonStrip(""), "");
  EXPECT_EQ(PythonStrip("\u200B\uFEFF"), "\u200B\uFEFF");
  EXPECT_EQ(PythonStrip("\x80 \xA0"), "\x80 \xA0");
}

}  // namespace
}  // namespace facet
