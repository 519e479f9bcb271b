#include "ops/cli/free_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace facet {

absl::Status CheckPortFree(const std::string& host, int port, absl::string_view flag) {
  if (port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", port, " is not in [0, 65535]"));
  }
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("'", host, "' is not an IPv4 address"));
  }
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, "socket");
  // As servers do: connections of an earlier one that still fade away do not matter.
  const int yes = 1;
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  const bool bound =
      bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  const int error = errno;
  close(descriptor);
  if (bound) return absl::OkStatus();
  if (error == EADDRINUSE) {
    return absl::UnavailableError(
        absl::StrCat("port ", port, " is in use: stop what listens there or choose another with ",
                     flag, "; 0 lets the kernel pick"));
  }
  return absl::UnavailableError(absl::StrCat("cannot listen on ", host, " port ", port, " (", flag,
                                             "): ", std::strerror(error)));
}

}  // namespace facet
