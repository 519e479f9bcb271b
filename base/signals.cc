#include "base/signals.h"

#include <pthread.h>
#include <signal.h>

#include "base/check.h"

namespace facet {
namespace {

sigset_t TerminationSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

void BlockTerminationSignals() {
  const sigset_t signals = TerminationSignals();
  CHECK_EQ(pthread_sigmask(SIG_BLOCK, &signals, nullptr), 0);
  signal(SIGPIPE, SIG_IGN);
}

int WaitForTermination() {
  const sigset_t signals = TerminationSignals();
  int signal = 0;
  CHECK_EQ(sigwait(&signals, &signal), 0);
  return signal;
}

bool TerminationPending() {
  sigset_t pending;
  CHECK_EQ(sigpending(&pending), 0);
  return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
}

void IgnoreTerminationSignals() {
  for (const int number : {SIGTERM, SIGINT, SIGPIPE}) signal(number, SIG_IGN);
}

}  // namespace facet
