#include "worker/page_server.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "worker/page_wire.h"

namespace facet {

// One pull: while a batch of pages is written piece by piece, the next one is copied.
class PageServer::Reactor final : public grpc::ServerWriteReactor<v1::PullPagesReply> {
 public:
  Reactor(PageServer* server, const v1::PullPagesRequest& request)
      : server_(*server), link_(std::make_shared<Link>(this)) {
    const bool room = ++server_.pulls_ <= server_.options_.pulls_max;
    absl::Status status = Accept(request);
    if (status.ok() && !room) {
      status = absl::ResourceExhaustedError(
          absl::StrCat(server_.options_.pulls_max, " pulls run already, the most at once"));
    }
    absl::MutexLock lock(&link_->mutex);
    if (status.ok()) {
      Ask();
    } else {
      FinishOnce(status);
    }
  }
  ~Reactor() override { --server_.pulls_; }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&link_->mutex);
    writing_ = false;
    if (!ok) return FinishOnce(absl::CancelledError("the puller is gone"));
    Write();
  }
  void OnCancel() override {
    absl::MutexLock lock(&link_->mutex);
    if (!writing_) FinishOnce(absl::CancelledError("the puller is gone"));
  }
  void OnDone() override {
    {
      absl::MutexLock lock(&link_->mutex);
      link_->reactor = nullptr;
    }
    delete this;
  }

 private:
  // The reader may have pages for a reactor that gRPC has ended: the two find each other here.
  struct Link {
    explicit Link(Reactor* reactor) : reactor(reactor) {}
    absl::Mutex mutex;
    Reactor* reactor ABSL_GUARDED_BY(mutex);
  };

  absl::Status Accept(const v1::PullPagesRequest& request) {
    absl::StatusOr<std::vector<PoolKey>> pages = ParsePullRequest(request);
    if (!pages.ok()) return pages.status();
    if (request.label() != server_.options_.format.label) {
      return absl::FailedPreconditionError(absl::StrCat("label: pages of '", request.label(),
                                                        "' are asked for, these are of '",
                                                        server_.options_.format.label, "'"));
    }
    pages_ = *std::move(pages);
    return absl::OkStatus();
  }

  // Asks for the next batch, if there is one.
  void Ask() ABSL_EXCLUSIVE_LOCKS_REQUIRED(link_->mutex) {
    if (asked_ == pages_.size()) return;
    std::vector<PoolKey> batch;
    for (int64_t bytes = 0; asked_ < pages_.size(); ++asked_) {
      bytes += server_.options_.format.bytes(pages_[asked_].first);
      if (!batch.empty() && bytes > server_.options_.batch_bytes) break;
      batch.push_back(pages_[asked_]);
    }
    server_.reader_(std::move(batch), [link = link_](std::vector<std::string> contents) {
      absl::MutexLock lock(&link->mutex);
      Reactor* const reactor = link->reactor;
      if (reactor == nullptr) return;
      reactor->link_->mutex.AssertHeld();  // the same
      reactor->Take(std::move(contents));
    });
  }

  void Take(std::vector<std::string> contents) ABSL_EXCLUSIVE_LOCKS_REQUIRED(link_->mutex) {
    next_batch_ = std::move(contents);
    if (!writing_) Write();
  }

  void Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(link_->mutex) {
    if (finished_) return;
    if (sent_ == pages_.size()) return FinishOnce(absl::OkStatus());
    if (in_batch_ == batch_.size()) {
      if (!next_batch_.has_value()) return;  // goes on when it comes
      batch_ = *std::exchange(next_batch_, std::nullopt);
      in_batch_ = 0;
      Ask();
    }
    const std::string& contents = batch_[in_batch_];
    reply_.Clear();
    reply_.set_page(static_cast<uint32_t>(sent_));
    reply_.set_absent(contents.empty());
    if (!contents.empty()) {
      const absl::string_view piece =
          absl::string_view(contents).substr(offset_, kPullPieceBytesMax);
      reply_.set_offset(offset_);
      reply_.set_data(piece.data(), piece.size());
      reply_.set_sha256(DigestOfPiece(pages_[sent_], offset_, piece));
      offset_ += piece.size();
    }
    if (offset_ == contents.size()) {
      batch_[in_batch_++] = {};
      ++sent_;
      offset_ = 0;
    }
    writing_ = true;
    StartWrite(&reply_);
  }

  void FinishOnce(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(link_->mutex) {
    if (std::exchange(finished_, true)) return;
    // The codes have equal values.
    Finish({static_cast<grpc::StatusCode>(status.code()), std::string(status.message())});
  }

  PageServer& server_;
  const std::shared_ptr<Link> link_;  // shared with what the reader was asked for
  std::vector<PoolKey> pages_;
  v1::PullPagesReply reply_;  // being written
  size_t asked_ ABSL_GUARDED_BY(link_->mutex) = 0;
  size_t sent_ ABSL_GUARDED_BY(link_->mutex) = 0;
  std::vector<std::string> batch_ ABSL_GUARDED_BY(link_->mutex);
  size_t in_batch_ ABSL_GUARDED_BY(link_->mutex) = 0;  // the page of it that is being written
  size_t offset_ ABSL_GUARDED_BY(link_->mutex) = 0;    // in that page
  std::optional<std::vector<std::string>> next_batch_ ABSL_GUARDED_BY(link_->mutex);
  bool writing_ ABSL_GUARDED_BY(link_->mutex) = false;
  bool finished_ ABSL_GUARDED_BY(link_->mutex) = false;
};

grpc::ServerWriteReactor<v1::PullPagesReply>* PageServer::Pull(
    const v1::PullPagesRequest& request) {
  return new Reactor(this, request);
}

}  // namespace facet
