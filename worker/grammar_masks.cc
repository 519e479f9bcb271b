#include "worker/grammar_masks.h"

#include <utility>

#include "base/check.h"

namespace facet {

GrammarMasks::~GrammarMasks() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void GrammarMasks::Begin(std::vector<Job> jobs) {
  if (jobs.empty()) return;
  if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
  absl::MutexLock lock(&mutex_);
  CHECK(jobs_.empty());
  jobs_ = std::move(jobs);
}

void GrammarMasks::BlockingFinish() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &GrammarMasks::IsIdle));
}

void GrammarMasks::Loop() {
  for (;;) {
    std::vector<Job> jobs;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &GrammarMasks::HasWork));
      if (stopping_) return;
      jobs = jobs_;
    }
    for (const Job& job : jobs) Fill(job);
    absl::MutexLock lock(&mutex_);
    jobs_.clear();
  }
}

void GrammarMasks::Fill(const Job& job) const {
  job.masks->resize((job.drafts.size() + 1) * mask_words_);
  job.matcher->FillMasks(job.drafts, absl::MakeSpan(*job.masks));
}

}  // namespace facet
