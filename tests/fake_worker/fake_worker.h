#ifndef FACET_TESTS_FAKE_WORKER_FAKE_WORKER_H_
#define FACET_TESTS_FAKE_WORKER_FAKE_WORKER_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/page_event.h"
#include "proto/worker.pb.h"

namespace facet::testing {

// A worker without a model: speaks worker.proto and answers as it was told. Nothing in it waits for
// time, unless it is asked to: a test holds answers back and lets them go. Safe to use from any
// thread.
class FakeWorker {
 public:
  // What one request gets: `tokens`, one output for each, the last with the finish reason; or an
  // error after them. Outputs that wait for the connection go in one message, as a worker's do. Of
  // a request with `resume_from`, which must be how `tokens` begin, the rest.
  struct Answer {
    std::vector<uint32_t> tokens;
    v1::FinishReason finish_reason = v1::FINISH_REASON_STOP;
    std::string error = {};
    v1::ErrorKind error_kind = v1::ERROR_KIND_UNSPECIFIED;
  };
  using AnswerFunction = std::function<Answer(const v1::GenerateRequest& request)>;

  struct Options {
    std::string address = "127.0.0.1:0";  // Port 0: the kernel picks.
    v1::DescribeReply description;
    AnswerFunction answer;
    // If not zero: of the requests the running_requests_max of the highest priority, then the
    // oldest, get a token each time that this has passed, and the others wait; else each gets all
    // at once.
    absl::Duration token_interval = absl::ZeroDuration();
    // If not zero: how often it tells its load while that changes; else at once.
    absl::Duration load_interval = absl::ZeroDuration();
    size_t hold_after = std::numeric_limits<size_t>::max();  // As HoldAfter, from the beginning.
    bool ask_for_media = false;  // Answers wait until the request's media have come.
    bool keep_requests = true;   // For requests(); a load generator's would fill the memory.
    // Names of LoRA adapters that it holds from the beginning, with their paths.
    std::map<std::string, std::string> adapters = {};
  };

  // UNAVAILABLE if the address is taken.
  static absl::StatusOr<std::unique_ptr<FakeWorker>> Start(Options options);
  // Shuts down at once.
  virtual ~FakeWorker() = default;

  virtual int port() const = 0;
  std::string address() const;

  // From now on an answer stops after `tokens` tokens, until Release.
  virtual void HoldAfter(size_t tokens) = 0;
  virtual void Release() = 0;
  virtual void SetDraining(bool draining) = 0;
  // What it holds. It loads any path but those with "nowhere" (NOT_FOUND) or "broken"
  // (INVALID_ARGUMENT) in them; an adapter's digest is its path.
  virtual std::map<std::string, std::string> adapters() const = 0;
  // What it says of itself; running requests and draining are its own.
  virtual void SetLoad(const v1::Load& load) = 0;
  // Tells routers of pages. Those that begin to watch later hear of what is stored then.
  virtual void TellPages(const std::vector<PageEvent>& events) = 0;
  // Leaves out the number of one message to each watching router, as if that had been lost.
  virtual void LoseNews() = 0;
  // Ends all calls and stops to listen, as when the process dies.
  virtual void Kill() = 0;

  // Requests that came, that run, that were cancelled (also by a session's end), and all that came.
  virtual int started() const = 0;
  virtual int running() const = 0;
  virtual int cancelled() const = 0;
  virtual int watches_begun() const = 0;
  virtual std::vector<v1::GenerateRequest> requests() const = 0;
  // Pieces of media that came, of all requests.
  virtual std::vector<v1::SessionRequest::MediaChunk> media_chunks() const = 0;
  // Block until it is so; false after 30 s.
  virtual bool AwaitStarted(int count) = 0;
  virtual bool AwaitRunning(int count) = 0;
  virtual bool AwaitCancelled(int count) = 0;
};

}  // namespace facet::testing

#endif  // FACET_TESTS_FAKE_WORKER_FAKE_WORKER_H_
