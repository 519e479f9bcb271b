#ifndef FACET_OPS_CLI_CHILD_PROCESS_H_
#define FACET_OPS_CLI_CHILD_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace facet {

// A program that is started, says when it is ready, and is started again when it dies. Its stderr
// is ours. It gets SIGTERM when we die, however that happens. For one thread.
class ChildProcess {
 public:
  // `arguments[0]` is the program's path.
  explicit ChildProcess(std::vector<std::string> arguments) : arguments_(std::move(arguments)) {}
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Starts it and waits for the first line of its stdout, which is returned. FAILED_PRECONDITION
  // when it ends without one: it has told why on stderr.
  absl::StatusOr<std::string> BlockingStart();
  // Asks it to end (SIGTERM). Does nothing when it does not run.
  void Terminate();
  // Ends it without asking (SIGKILL).
  void Kill();
  // Waits until it has ended.
  void BlockingWait();
  // Whether `pid` is this one's; if so it is taken to have ended.
  bool Reap(pid_t pid);

  bool running() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }
  std::vector<std::string>& arguments() { return arguments_; }

 private:
  std::vector<std::string> arguments_;
  pid_t pid_ = -1;
  int stdout_ = -1;
};

}  // namespace facet

#endif  // FACET_OPS_CLI_CHILD_PROCESS_H_
