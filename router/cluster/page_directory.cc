#include "router/cluster/page_directory.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"

namespace facet {
namespace {

// Gemma's 1,024 tokens, until a worker says what its model has.
constexpr int kUsualWindowPages = 16;
// Prompts that are being computed are few beside what is cached.
constexpr int64_t kExpectedShare = 8;

}  // namespace

PageDirectory::Expected& PageDirectory::Expected::operator=(Expected&& other) noexcept {
  std::swap(directory_, other.directory_);
  std::swap(worker_, other.worker_);
  std::swap(keys_, other.keys_);
  return *this;
}

void PageDirectory::Expected::Reset() {
  if (directory_ != nullptr) directory_->ApplyExpected(worker_, *keys_, /*stored=*/false);
  directory_ = nullptr;
  keys_ = nullptr;
}

PageDirectory::PageDirectory(int64_t pages_max)
    : pages_max_(pages_max),
      told_(std::make_unique<PageIndex>(PageIndex::Options{pages_max, kUsualWindowPages})),
      expected_({std::max<int64_t>(1, pages_max / kExpectedShare), kUsualWindowPages}) {}

void PageDirectory::SetWindow(int window_pages) {
  auto index = std::make_unique<PageIndex>(PageIndex::Options{pages_max_, window_pages});
  absl::MutexLock lock(&mutex_);
  told_ = std::move(index);
}

void PageDirectory::Apply(int worker, absl::Span<const PageEvent> events) {
  absl::MutexLock lock(&mutex_);
  told_->Apply(worker, events);
}

void PageDirectory::RemoveWorker(int worker) {
  absl::MutexLock lock(&mutex_);
  told_->RemoveWorker(worker);
}

PageDirectory::Expected PageDirectory::Expect(int worker, SharedPageKeys keys) {
  if (keys == nullptr || keys->empty()) return {};
  ApplyExpected(worker, *keys, /*stored=*/true);
  return {this, worker, std::move(keys)};
}

void PageDirectory::ApplyExpected(int worker, const std::vector<PageKey>& keys, bool stored) {
  std::vector<PageEvent> events;
  events.reserve(keys.size());
  for (const PageKey& key : keys) events.push_back({.key = key, .stored = stored});
  absl::MutexLock lock(&mutex_);
  expected_.Apply(worker, events);
}

void PageDirectory::Lookup(absl::Span<const PageKey> keys, std::vector<Holding>& holdings) const {
  holdings.clear();
  if (keys.empty()) return;
  thread_local std::vector<PrefixHolder> told, expected;
  {
    absl::ReaderMutexLock lock(&mutex_);
    told_->Lookup(keys, told);
    expected_.Lookup(keys, expected);
  }
  const auto of = [&](int worker) -> Holding& {
    if (worker >= static_cast<int>(holdings.size())) holdings.resize(worker + 1);
    return holdings[worker];
  };
  for (const PrefixHolder& holder : told) {
    of(holder.worker) = {holder.usable_pages, holder.usable_pages};
  }
  for (const PrefixHolder& holder : expected) {
    int& usable = of(holder.worker).usable_pages;
    usable = std::max(usable, holder.full_pages);
  }
}

int64_t PageDirectory::page_count() const {
  absl::ReaderMutexLock lock(&mutex_);
  return told_->page_count();
}

}  // namespace facet
