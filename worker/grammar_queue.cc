#include "worker/grammar_queue.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace facet {

bool PendingGrammar::done() const {
  absl::MutexLock lock(&mutex_);
  return done_;
}

absl::StatusOr<std::unique_ptr<GrammarMatcher>> PendingGrammar::Take() {
  absl::MutexLock lock(&mutex_);
  CHECK(done_);
  return std::move(matcher_);
}

GrammarQueue::GrammarQueue(GrammarCompiler* compiler, std::function<void()> on_done)
    : compiler_(*compiler), on_done_(std::move(on_done)) {}

GrammarQueue::~GrammarQueue() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<PendingGrammar> GrammarQueue::Add(std::string ebnf, std::vector<int32_t> stop_ids,
                                                  std::vector<int32_t> resume_from) {
  auto pending = std::make_shared<PendingGrammar>();
  pending->ebnf_ = std::move(ebnf);
  pending->stop_ids_ = std::move(stop_ids);
  pending->resume_from_ = std::move(resume_from);
  absl::MutexLock lock(&mutex_);
  if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
  waiting_.push_back(pending);
  return pending;
}

void GrammarQueue::Loop() {
  for (;;) {
    std::shared_ptr<PendingGrammar> pending;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &GrammarQueue::HasWork));
      if (stopping_) return;
      pending = std::move(waiting_.front());
      waiting_.pop_front();
    }
    if (pending.use_count() == 1) continue;
    absl::StatusOr<std::unique_ptr<GrammarMatcher>> matcher = Compile(*pending);
    {
      absl::MutexLock lock(&pending->mutex_);
      pending->matcher_ = std::move(matcher);
      pending->done_ = true;
    }
    on_done_();
  }
}

absl::StatusOr<std::unique_ptr<GrammarMatcher>> GrammarQueue::Compile(
    const PendingGrammar& pending) {
  ASSIGN_OR_RETURN(std::unique_ptr<GrammarMatcher> matcher,
                   compiler_.Compile(pending.ebnf_, pending.stop_ids_));
  for (size_t i = 0; i < pending.resume_from_.size(); ++i) {
    if (matcher->Accept(pending.resume_from_[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat("resume_from[", i, "] is ",
                                                   pending.resume_from_[i],
                                                   ", which the grammar does not allow there"));
  }
  return matcher;
}

}  // namespace facet
