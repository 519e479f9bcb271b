#include "worker/disk_tier.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using Operation = DiskTier::Operation;

constexpr int64_t kFullBytes = 3000, kSlidingBytes = 10000;
constexpr int64_t kFileBytes = kFullBytes + 72 + 32;  // header and checksum

PageKey Key(int number) { return NextPageKey(RootPageKey(""), std::vector<int32_t>{number}); }
PoolKey Full(int number) { return {KvPool::kFull, Key(number)}; }

std::vector<uint8_t> Contents(int number, int64_t bytes = kFullBytes) {
  std::mt19937 random(static_cast<uint32_t>(number));
  std::vector<uint8_t> contents(bytes);
  for (uint8_t& byte : contents) byte = static_cast<uint8_t>(random());
  return contents;
}

class DiskTierTest : public ::testing::Test {
 protected:
  DiskTierTest() {
    std::string pattern = absl::StrCat(::testing::TempDir(), "/disk_tier_XXXXXX");
    CHECK_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    Open();
  }
  ~DiskTierTest() override {
    tier_.reset();
    std::filesystem::remove_all(folder_);
  }

  // As a restarted process does.
  void Open(const std::string& label = "model A, class 1", int64_t bytes_max = 1 << 20) {
    tier_.reset();
    DiskTierOptions options;
    options.folder = folder_;
    options.label = label;
    options.bytes_max = bytes_max;
    options.page_bytes[0] = kFullBytes;
    options.page_bytes[1] = kSlidingBytes;
    options.queued_writes_max = 4;
    tier_ = std::make_unique<DiskTier>(options);
  }

  bool Run(Operation operation) {
    EXPECT_TRUE(tier_->Enqueue(operation));
    EXPECT_TRUE(tier_->RunOnce());
    const std::vector<Operation> completed = tier_->TakeCompleted();
    EXPECT_EQ(completed.size(), 1);
    return completed[0].ok;
  }
  bool Write(const PoolKey& key, std::vector<uint8_t> contents) {
    return Run({Operation::kWrite, key, 0, 0, contents.data()});
  }
  // What was read; nothing if it failed.
  std::vector<uint8_t> Read(const PoolKey& key, int64_t bytes = kFullBytes) {
    std::vector<uint8_t> contents(bytes);
    if (!Run({Operation::kRead, key, 0, 0, contents.data()})) contents.clear();
    return contents;
  }
  // Given a page whose file was changed, expect it not to be read, counted as `kind` and gone.
  void ExpectLost(int number, DiskFault kind) {
    const int64_t before = tier_->stats().fault(kind);
    EXPECT_TRUE(tier_->Has(Full(number)));
    EXPECT_THAT(Read(Full(number)), ElementsAre());
    EXPECT_FALSE(tier_->Has(Full(number)));
    EXPECT_EQ(tier_->stats().fault(kind), before + 1);
    EXPECT_FALSE(std::filesystem::exists(tier_->PathOf(Full(number))));
    // It can be written again.
    EXPECT_TRUE(Write(Full(number), Contents(number)));
    EXPECT_EQ(Read(Full(number)), Contents(number));
  }

  std::string folder_;
  std::unique_ptr<DiskTier> tier_;
};

// Given pages of both pools under one key, expect each back as it was, also after a restart.
TEST_F(DiskTierTest, FindsItsPagesAgain) {
  const PoolKey sliding = {KvPool::kSliding, Key(1)};
  EXPECT_FALSE(tier_->Has(Full(1)));
  EXPECT_TRUE(Write(Full(1), Contents(1)));
  EXPECT_TRUE(Write(sliding, Contents(2, kSlidingBytes)));
  for (int restart = 0; restart < 2; ++restart) {
    EXPECT_EQ(Read(Full(1)), Contents(1));
    EXPECT_EQ(Read(sliding, kSlidingBytes), Contents(2, kSlidingBytes));
    EXPECT_FALSE(tier_->Has(Full(2)));
    EXPECT_EQ(tier_->stats().pages, 2);
    EXPECT_GT(tier_->read_bytes_per_s(), 0);
    EXPECT_THAT(tier_->stats().faults, Each(0));
    Open();
  }
}

// Given pages of another model or numerics class, expect none of them, and one whose file was moved
// over to be refused.
TEST_F(DiskTierTest, NeverUsesAnotherLabelsPages) {
  EXPECT_TRUE(Write(Full(1), Contents(1)));
  const std::string path = tier_->PathOf(Full(1));
  Open("model A, class 2");
  EXPECT_FALSE(tier_->Has(Full(1)));
  std::filesystem::copy(path, tier_->PathOf(Full(1)));
  Open("model A, class 2");
  ExpectLost(1, DiskFault::kForeign);
}

// Given a file under another page's name, expect it to be refused.
TEST_F(DiskTierTest, NeverUsesAnotherKeysPage) {
  EXPECT_TRUE(Write(Full(1), Contents(1)));
  EXPECT_TRUE(Write(Full(2), Contents(2)));
  std::filesystem::copy(tier_->PathOf(Full(1)), tier_->PathOf(Full(2)),
                        std::filesystem::copy_options::overwrite_existing);
  ExpectLost(2, DiskFault::kForeign);
  EXPECT_EQ(Read(Full(1)), Contents(1));
}

// Given one flipped bit anywhere in a file (seed 3), expect the page to be refused.
TEST_F(DiskTierTest, NoticesEachFlippedBit) {
  std::mt19937 random(3);
  EXPECT_TRUE(Write(Full(1), Contents(1)));
  for (int i = 0; i < 200; ++i) {
    // The header, the contents and the checksum in turn.
    const int64_t begins[] = {0, 72, 72 + kFullBytes}, sizes[] = {72, kFullBytes, 32};
    const int64_t at = begins[i % 3] + static_cast<int64_t>(random() % sizes[i % 3]);
    {
      std::fstream file(tier_->PathOf(Full(1)), std::ios::in | std::ios::out | std::ios::binary);
      file.seekg(at);
      const int byte = file.get();
      file.seekp(at);
      file.put(static_cast<char>(byte ^ (1 << (random() % 8))));
    }
    ExpectLost(1, i % 3 == 0 ? DiskFault::kForeign : DiskFault::kCorrupt);
  }
}

// Given files that end early at any place, or go on too long, expect them to be refused, and again
// after a restart.
TEST_F(DiskTierTest, NoticesTornFiles) {
  EXPECT_TRUE(Write(Full(1), Contents(1)));
  for (const int64_t bytes : {int64_t{0}, int64_t{40}, int64_t{72}, int64_t{1500}, kFileBytes - 32,
                              kFileBytes - 1, kFileBytes + 1, kFileBytes * 2}) {
    std::filesystem::resize_file(tier_->PathOf(Full(1)), bytes);
    ExpectLost(1, DiskFault::kTorn);
    std::filesystem::resize_file(tier_->PathOf(Full(1)), bytes);
    Open();
    ExpectLost(1, DiskFault::kTorn);
  }
}

// Given what a killed process left half written, expect it removed, and never taken for a page.
TEST_F(DiskTierTest, RemovesWhatWasLeftAside) {
  const std::string aside = absl::StrCat(tier_->PathOf(Full(1)), ".1234.aside");
  std::ofstream(aside) << "half a page";
  Open();
  EXPECT_FALSE(tier_->Has(Full(1)));
  EXPECT_FALSE(std::filesystem::exists(aside));
}

// Given a full disk, expect the page not kept, the others untouched, and service once there is
// room.
TEST_F(DiskTierTest, SurvivesAFullDisk) {
  EXPECT_TRUE(Write(Full(1), Contents(1)));
  // What is written aside goes to a device that is always full.
  std::filesystem::create_symlink("/dev/full",
                                  absl::StrCat(tier_->PathOf(Full(2)), ".", getpid(), ".aside"));
  EXPECT_FALSE(Write(Full(2), Contents(2)));
  EXPECT_EQ(tier_->stats().fault(DiskFault::kWrite), 1);
  EXPECT_FALSE(tier_->Has(Full(2)));
  EXPECT_EQ(Read(Full(1)), Contents(1));
  EXPECT_TRUE(Write(Full(2), Contents(2)));
  EXPECT_EQ(Read(Full(2)), Contents(2));
}

// Given a folder that cannot be made, or that goes away, expect nothing kept, and no crash.
TEST_F(DiskTierTest, SurvivesAFolderItCannotUse) {
  std::filesystem::remove_all(folder_);
  EXPECT_FALSE(Write(Full(1), Contents(1)));
  EXPECT_EQ(tier_->stats().fault(DiskFault::kAccess), 1);
  std::ofstream(folder_) << "not a folder";
  Open();
  EXPECT_EQ(tier_->stats().fault(DiskFault::kAccess), 1);
  EXPECT_FALSE(Write(Full(1), Contents(1)));
  EXPECT_EQ(tier_->stats().fault(DiskFault::kAccess), 2);
}

// Given a page that is no file to be read, expect it counted and computed.
TEST_F(DiskTierTest, SurvivesAFileItCannotRead) {
  EXPECT_TRUE(Write(Full(1), Contents(1)));
  std::filesystem::remove(tier_->PathOf(Full(1)));
  std::filesystem::create_directory(tier_->PathOf(Full(1)));
  EXPECT_THAT(Read(Full(1)), ElementsAre());
  EXPECT_EQ(tier_->stats().fault(DiskFault::kAccess), 1);
  EXPECT_FALSE(tier_->Has(Full(1)));
}

// Given room for three pages, expect the one used longest ago to go for a fourth, in the order of
// use before a restart too.
TEST_F(DiskTierTest, StaysWithinItsBytes) {
  Open("label", 3 * kFileBytes);
  for (int i = 1; i <= 3; ++i) EXPECT_TRUE(Write(Full(i), Contents(i)));
  EXPECT_EQ(Read(Full(1)), Contents(1));
  EXPECT_TRUE(Write(Full(4), Contents(4)));
  EXPECT_FALSE(tier_->Has(Full(2)));
  EXPECT_FALSE(std::filesystem::exists(tier_->PathOf(Full(2))));
  EXPECT_EQ(tier_->stats().bytes, 3 * kFileBytes);
  EXPECT_EQ(tier_->stats().evictions, 1);
  // Page 3 is the oldest now. A smaller bound at a restart is kept at once.
  Open("label", 2 * kFileBytes);
  EXPECT_FALSE(tier_->Has(Full(3)));
  EXPECT_TRUE(tier_->Has(Full(1)) && tier_->Has(Full(4)));
  Open("label", kFileBytes - 1);
  EXPECT_FALSE(Write(Full(5), Contents(5)));
  EXPECT_EQ(tier_->stats().pages, 0);
}

// Given pages that come, are read and go, expect the observer to hear of each once; and of those
// that were there before it.
TEST_F(DiskTierTest, TellsWhatComesAndGoes) {
  Open("label", 2 * kFileBytes);
  EXPECT_TRUE(Write(Full(1), Contents(1)));
  std::vector<std::pair<PoolKey, bool>> heard;
  tier_->SetObserver([&](const PoolKey& key, bool stored) { heard.emplace_back(key, stored); });
  EXPECT_TRUE(Write(Full(2), Contents(2)));
  EXPECT_EQ(Read(Full(2)), Contents(2));
  EXPECT_TRUE(Write(Full(3), Contents(3)));
  EXPECT_THAT(heard, ElementsAre(std::pair(Full(1), true), std::pair(Full(2), true),
                                 std::pair(Full(1), false), std::pair(Full(3), true)));
}

// Given a full queue, expect one more write to be refused and counted, and reads to come first.
TEST_F(DiskTierTest, BoundsItsQueue) {
  std::vector<std::vector<uint8_t>> pages;
  pages.reserve(5);
  for (int i = 0; i < 5; ++i) pages.push_back(Contents(i));
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(tier_->Enqueue({Operation::kWrite, Full(i), i, 0, pages[i].data()}));
  }
  EXPECT_FALSE(tier_->HasRoomToWrite());
  EXPECT_FALSE(tier_->Enqueue({Operation::kWrite, Full(4), 4, 0, pages[4].data()}));
  EXPECT_EQ(tier_->stats().refused_writes, 1);
  EXPECT_TRUE(tier_->Enqueue({Operation::kRead, Full(0), 9, 0, pages[4].data()}));
  while (tier_->RunOnce()) {
  }
  std::vector<int32_t> tags;
  for (const Operation& operation : tier_->TakeCompleted()) tags.push_back(operation.tag);
  EXPECT_THAT(tags, ElementsAre(9, 0, 1, 2, 3));
}

// Given its own thread, expect all that was queued to complete, and what is left at a stop to
// complete as failed.
TEST_F(DiskTierTest, RunsOnItsOwnThread) {
  std::atomic<int> completions{0};
  tier_->Start([&] { ++completions; });
  std::vector<std::vector<uint8_t>> pages;
  pages.reserve(100);
  for (int i = 0; i < 100; ++i) pages.push_back(Contents(i));
  int ok = 0;
  for (int i = 0; i < 100; ++i) {
    while (!tier_->HasRoomToWrite()) tier_->BlockingRunUntilCompleted(absl::InfiniteFuture());
    EXPECT_TRUE(tier_->Enqueue({Operation::kWrite, Full(i), i, 0, pages[i].data()}));
    for (const Operation& operation : tier_->TakeCompleted()) ok += operation.ok ? 1 : 0;
  }
  int taken = ok;
  while (taken < 100) {
    tier_->BlockingRunUntilCompleted(absl::InfiniteFuture());
    for (const Operation& operation : tier_->TakeCompleted()) {
      ++taken;
      ok += operation.ok ? 1 : 0;
    }
  }
  EXPECT_EQ(ok, 100);
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(tier_->Enqueue({Operation::kRead, Full(i), i, 0, pages[i].data()}));
  }
  tier_->BlockingStop();
  EXPECT_EQ(tier_->TakeCompleted().size(), 4);
  EXPECT_LE(completions, 104);
}

}  // namespace
}  // namespace facet
