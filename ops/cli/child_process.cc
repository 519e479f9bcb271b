#include "ops/cli/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"

namespace facet {
namespace {

// Runs in the child between fork and exec: only async-signal-safe calls.
[[noreturn]] void Execute(char* const* arguments, int stdout_descriptor, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(1);
  // Its own process group, so that Ctrl-C reaches us alone and we end it in order.
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(stdout_descriptor, STDOUT_FILENO);
  execv(arguments[0], arguments);
  _exit(127);
}

}  // namespace

ChildProcess::~ChildProcess() {
  Terminate();
  BlockingWait();
}

absl::StatusOr<std::string> ChildProcess::BlockingStart() {
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  std::vector<char*> arguments;
  for (std::string& argument : arguments_) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) Execute(arguments.data(), pipe_ends[1], parent);
  close(pipe_ends[1]);
  if (stdout_ >= 0) close(stdout_);
  stdout_ = pipe_ends[0];
  if (pid_ < 0) return absl::ErrnoToStatus(errno, "fork");
  std::string line;
  for (char byte;;) {
    const ssize_t count = read(stdout_, &byte, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    if (byte == '\n') return line;
    line.push_back(byte);
  }
  BlockingWait();
  return absl::FailedPreconditionError(absl::StrCat(arguments_[0], " did not start"));
}

void ChildProcess::Terminate() {
  if (running()) kill(pid_, SIGTERM);
}

void ChildProcess::Kill() {
  if (running()) kill(pid_, SIGKILL);
}

void ChildProcess::BlockingWait() {
  while (running() && waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (stdout_ >= 0) close(std::exchange(stdout_, -1));
}

bool ChildProcess::Reap(pid_t pid) {
  if (pid != pid_) return false;
  pid_ = -1;
  close(std::exchange(stdout_, -1));
  return true;
}

}  // namespace facet
