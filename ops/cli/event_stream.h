#ifndef FACET_OPS_CLI_EVENT_STREAM_H_
#define FACET_OPS_CLI_EVENT_STREAM_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// Where a server listens: of "http://127.0.0.1:9379".
struct ServerAddress {
  std::string host;
  std::string port;
};
// INVALID_ARGUMENT: not http://HOST[:PORT].
absl::StatusOr<ServerAddress> ParseServerAddress(absl::string_view url);

// Posts JSON and gives the data of each server-sent event that is answered to `on_data`, as they
// come. CANCELLED: Ctrl-C was pressed, which ends the request and nothing else. UNAVAILABLE: no
// connection, or it broke. Else an error with the server's own message.
absl::Status BlockingPostForEvents(const ServerAddress& server, const std::string& path,
                                   const std::string& body,
                                   const std::function<void(absl::string_view data)>& on_data);

}  // namespace facet

#endif  // FACET_OPS_CLI_EVENT_STREAM_H_
