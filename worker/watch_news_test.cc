#include "worker/watch_news.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

v1::Load Running(uint32_t requests, double tokens_per_s) {
  v1::Load load;
  load.set_running_requests(requests);
  load.set_generated_tokens_per_s(tokens_per_s);
  return load;
}

// A rate that moves is told with the next change, and is none itself.
TEST(WatchNewsTest, TellsWhatReadersActOn) {
  WatchNews news;
  EXPECT_FALSE(news.any());
  news.PostLoad(Running(1, 10));
  EXPECT_TRUE(news.any());
  EXPECT_THAT(news.Take(), IsEmpty());
  news.PostLoad(Running(1, 20));
  EXPECT_FALSE(news.any());
  EXPECT_EQ(news.load().generated_tokens_per_s(), 20);
}

// Each event is told once, in order; who comes later hears of what is there.
TEST(WatchNewsTest, TellsEventsOnceAndPagesToNewcomers) {
  const PageEvent first{.key = {1}}, copy{.key = {1}, .tier = PageTier::kHost},
      second{.key = {2}, .sliding = true};
  PageEvent gone = first;
  gone.stored = false;
  WatchNews news;
  for (const PageEvent& event : {first, copy, second, gone}) news.PostPage(event);
  EXPECT_THAT(news.Take(), ElementsAre(first, copy, second, gone));
  EXPECT_THAT(news.Take(), IsEmpty());
  EXPECT_THAT(news.AllPages(), UnorderedElementsAre(copy, second));
}

// Loads come from an engine that knows no adapters; they stay.
TEST(WatchNewsTest, KeepsAdapters) {
  WatchNews news;
  v1::AdapterInfo adapter;
  adapter.set_name("a");
  news.PostAdapters({adapter});
  EXPECT_TRUE(news.any());
  news.PostLoad(Running(1, 0));
  EXPECT_EQ(news.load().adapters_size(), 1);
}

}  // namespace
}  // namespace facet
