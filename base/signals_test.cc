#include "base/signals.h"

#include <signal.h>
#include <unistd.h>

#include <thread>

#include "gtest/gtest.h"

namespace facet {
namespace {

// Given a signal sent to the process while other threads run, expect the waiter to get it.
TEST(SignalsTest, WaiterGetsTheSignal) {
  BlockTerminationSignals();
  std::thread sender([] { kill(getpid(), SIGTERM); });
  EXPECT_EQ(WaitForTermination(), SIGTERM);
  sender.join();
}

// Given a signal that came before the wait, expect it not to be lost.
TEST(SignalsTest, EarlySignalIsKept) {
  BlockTerminationSignals();
  kill(getpid(), SIGINT);
  EXPECT_EQ(WaitForTermination(), SIGINT);
}

}  // namespace
}  // namespace facet
