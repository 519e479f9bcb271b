#include "proto/page_event.h"

#include <gtest/gtest.h>

#include "base/status_matchers.h"

namespace facet {
namespace {

using ::testing::HasSubstr;

// Given events of each pool, tier and kind, expect them again after packing.
TEST(PageEventTest, PacksAndParses) {
  std::vector<PageEvent> events;
  v1::PageEvents packed;
  for (const PageTier tier : {PageTier::kDevice, PageTier::kHost, PageTier::kDisk}) {
    for (const bool sliding : {false, true}) {
      for (const bool stored : {false, true}) {
        events.push_back({NextPageKey(RootPageKey(""), {static_cast<int>(events.size())}), sliding,
                          tier, stored});
        AppendPageEvent(events.back(), packed);
      }
    }
  }
  EXPECT_EQ(packed.keys().size() + packed.kinds().size(), 17 * events.size());
  ASSERT_OK_AND_ASSIGN(const std::vector<PageEvent> parsed, ParsePageEvents(packed));
  EXPECT_EQ(parsed, events);
}

// Given keys that are cut short, or a tier that does not exist, expect the field named.
TEST(PageEventTest, RefusesWhatIsNotPacked) {
  v1::PageEvents packed;
  AppendPageEvent({}, packed);
  packed.mutable_keys()->pop_back();
  EXPECT_THAT(ParsePageEvents(packed).status().message(), HasSubstr("page_events.keys has 15"));
  packed.mutable_keys()->push_back('x');
  (*packed.mutable_kinds())[0] = 12;
  EXPECT_THAT(ParsePageEvents(packed).status().message(), HasSubstr("page_events.kinds[0] is 12"));
}

}  // namespace
}  // namespace facet
