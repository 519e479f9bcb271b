#include "router/cluster/page_directory.h"

#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::ElementsAre;

constexpr int kWindowPages = 2;

SharedPageKeys Prompt(int pages, const char* salt = "") {
  std::vector<int32_t> tokens(pages);
  return std::make_shared<const std::vector<PageKey>>(PageKeysOf(RootPageKey(salt), tokens, 1));
}

std::vector<PageEvent> Stored(const std::vector<PageKey>& keys, bool sliding) {
  std::vector<PageEvent> events;
  for (const PageKey& key : keys) events.push_back({.key = key, .sliding = sliding});
  return events;
}

class PageDirectoryTest : public ::testing::Test {
 protected:
  PageDirectoryTest() { directory_.SetWindow(kWindowPages); }
  void Tell(int worker, const std::vector<PageKey>& keys) {
    directory_.Apply(worker, Stored(keys, false));
    directory_.Apply(worker, Stored(keys, true));
  }
  // Of each worker, the pages that it could use; or of these, those that it told of.
  std::vector<int> Lookup(
      const std::vector<PageKey>& keys, int workers = 3,
      int PageDirectory::Holding::* which = &PageDirectory::Holding::usable_pages) const {
    std::vector<PageDirectory::Holding> holdings(2 * workers, {-1, -1});
    directory_.Lookup(keys, holdings);
    EXPECT_LE(holdings.size(), static_cast<size_t>(workers));
    holdings.resize(workers);
    std::vector<int> pages;
    for (const PageDirectory::Holding& holding : holdings) pages.push_back(holding.*which);
    return pages;
  }
  std::vector<int> Told(const std::vector<PageKey>& keys) const {
    return Lookup(keys, 3, &PageDirectory::Holding::told_pages);
  }

  PageDirectory directory_{1000};
};

// Given pages that workers told of, expect how many each could use; of a worker that is gone, none.
TEST_F(PageDirectoryTest, KnowsWhatWorkersTold) {
  const SharedPageKeys prompt = Prompt(10);
  const std::vector<PageKey> beginning(prompt->begin(), prompt->begin() + 4);
  Tell(1, beginning);
  Tell(2, *prompt);
  EXPECT_THAT(Lookup(*prompt), ElementsAre(0, 4, 10));
  EXPECT_THAT(Lookup(beginning), ElementsAre(0, 4, 4));
  EXPECT_THAT(Lookup(*Prompt(10, "other")), ElementsAre(0, 0, 0));
  EXPECT_THAT(Lookup({}), ElementsAre(0, 0, 0));
  directory_.RemoveWorker(2);
  EXPECT_THAT(Lookup(*prompt), ElementsAre(0, 4, 0));
}

// Given full pages without the window's sliding ones, expect none to be usable.
TEST_F(PageDirectoryTest, WindowIsNeeded) {
  const SharedPageKeys prompt = Prompt(6);
  directory_.Apply(0, Stored(*prompt, false));
  EXPECT_THAT(Lookup(*prompt, 1), ElementsAre(0));
}

// Given a prompt that a worker was given to compute, expect its pages there until the answer
// begins; after that what the worker told counts.
TEST_F(PageDirectoryTest, ExpectsWhatIsBeingComputed) {
  const SharedPageKeys prompt = Prompt(5);
  PageDirectory::Expected expected = directory_.Expect(1, prompt);
  EXPECT_THAT(Lookup(*prompt), ElementsAre(0, 5, 0));
  EXPECT_THAT(Told(*prompt), ElementsAre(0, 0, 0));
  Tell(1, {prompt->begin(), prompt->begin() + 3});
  EXPECT_THAT(Lookup(*prompt), ElementsAre(0, 5, 0));
  EXPECT_THAT(Told(*prompt), ElementsAre(0, 3, 0));
  expected.Reset();
  EXPECT_THAT(Lookup(*prompt), ElementsAre(0, 3, 0));
  expected.Reset();  // Once is enough.
  {
    const PageDirectory::Expected moved = directory_.Expect(0, prompt);
    EXPECT_THAT(Lookup(*prompt), ElementsAre(5, 3, 0));
  }
  EXPECT_THAT(Lookup(*prompt), ElementsAre(0, 3, 0));
  EXPECT_EQ(directory_.page_count(), 3);
}

// Given threads that tell, expect and look up at once, expect what is left to be right (and no
// report of a sanitizer).
TEST_F(PageDirectoryTest, ManyThreads) {
  std::vector<std::thread> threads;
  for (int worker = 0; worker < 3; ++worker) {
    threads.emplace_back([this, worker] {
      const SharedPageKeys mine = Prompt(8, std::to_string(worker).c_str());
      for (int i = 0; i < 100; ++i) {
        const PageDirectory::Expected expected = directory_.Expect(worker, mine);
        Tell(worker, *mine);
        EXPECT_EQ(Lookup(*mine)[worker], 8);
        if (i < 99) directory_.RemoveWorker(worker);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(directory_.page_count(), 24);
}

}  // namespace
}  // namespace facet
