#include "ops/cli/free_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Listens on a port that the kernel picks.
class Listener {
 public:
  Listener() : descriptor_(socket(AF_INET, SOCK_STREAM, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address_);
    auto* address = reinterpret_cast<sockaddr*>(&address_);
    CHECK_EQ(bind(descriptor_, address, size), 0);
    CHECK_EQ(listen(descriptor_, 1), 0);
    CHECK_EQ(getsockname(descriptor_, address, &size), 0);
  }
  ~Listener() { close(descriptor_); }
  int port() const { return ntohs(address_.sin_port); }

 private:
  const int descriptor_;
  sockaddr_in address_ = {};
};

// Given a port that somebody listens on, expect an error that names it and the flag.
TEST(FreePortTest, NamesThePortInUseAndTheFlag) {
  const Listener listener;
  for (const char* host : {"127.0.0.1", "0.0.0.0"}) {
    const absl::Status status = CheckPortFree(host, listener.port(), "--worker_port");
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(std::to_string(listener.port())), HasSubstr("in use"),
                      HasSubstr("--worker_port")));
  }
}

// Given a port that was let go, or one for the kernel to pick, expect it free.
TEST(FreePortTest, AcceptsFreePorts) {
  int port;
  {
    const Listener listener;
    port = listener.port();
  }
  EXPECT_OK(CheckPortFree("127.0.0.1", port, "--port"));
  EXPECT_OK(CheckPortFree("0.0.0.0", 0, "--port"));
}

// Given what is no port or no address of this host, expect an error.
TEST(FreePortTest, RefusesWhatIsNoPortOrAddress) {
  EXPECT_EQ(CheckPortFree("127.0.0.1", 65536, "--port").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckPortFree("127.0.0.1", -1, "--port").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckPortFree("nowhere", 1, "--port").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckPortFree("203.0.113.1", 0, "--port").code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace facet
