#include "router/text/stop_strings.h"

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace facet {
namespace {

// Feeds `text` in pieces of `size` bytes and returns all that came out.
std::string Filter(const std::vector<std::string>& stops, const std::string& text, size_t size) {
  StopStrings filter(stops);
  std::string out;
  for (size_t i = 0; i < text.size(); i += size) out += filter.Add(text.substr(i, size));
  return out + filter.Finish();
}

// Given no stop strings, expect every byte at once.
TEST(StopStringsTest, WithoutStopsPassesThrough) {
  StopStrings filter({});
  EXPECT_EQ(filter.Add("abc"), "abc");
  EXPECT_EQ(filter.Finish(), "");
}

// Given a stop string that arrives in parts, expect its beginning to be held back and then cut.
TEST(StopStringsTest, HoldsBackWhatMayBecomeAStop) {
  StopStrings filter({"END"});
  EXPECT_EQ(filter.Add("one E"), "one ");
  EXPECT_EQ(filter.Add("N"), "");
  EXPECT_FALSE(filter.matched());
  EXPECT_EQ(filter.Add("D two"), "");
  EXPECT_TRUE(filter.matched());
  EXPECT_EQ(filter.Add("more"), "");
  EXPECT_EQ(filter.Finish(), "");
}

// Given a beginning that comes to nothing, expect it to be let go.
TEST(StopStringsTest, LetsGoOfAFalseStart) {
  StopStrings filter({"END"});
  EXPECT_EQ(filter.Add("E"), "");
  EXPECT_EQ(filter.Add("NE"), "EN");
  EXPECT_EQ(filter.Finish(), "E");
}

// Given several stops, expect the cut at the one that begins first.
TEST(StopStringsTest, EarliestStopWins) {
  EXPECT_EQ(Filter({"cd", "bcde"}, "abcdef", 6), "a");
  EXPECT_EQ(Filter({"\n\n", "\nUser:"}, "hi\nUser: x", 1), "hi");
}

// Given random text over a small alphabet, expect the same cut as a search of the whole text, one
// byte at a time.
TEST(StopStringsTest, SameAsASearchOfTheWholeText) {
  const unsigned seed = 7;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 30; ++i) text += static_cast<char>('a' + random() % 2);
    std::string stop;
    for (unsigned i = 0; i < 1 + random() % 8; ++i) stop += static_cast<char>('a' + random() % 2);
    EXPECT_EQ(Filter({stop}, text, 1), text.substr(0, text.find(stop))) << text << " " << stop;
  }
}

}  // namespace
}  // namespace facet
