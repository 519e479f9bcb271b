#ifndef FACET_OPS_CLI_FREE_PORT_H_
#define FACET_OPS_CLI_FREE_PORT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace facet {

// Whether a process could listen on `host` (an IPv4 address) and `port`; 0 is always free. The
// error says what to do and names `flag`, from which the port came. Somebody may still take the
// port afterwards: this is for a clear word at start, not for safety.
absl::Status CheckPortFree(const std::string& host, int port, absl::string_view flag);

}  // namespace facet

#endif  // FACET_OPS_CLI_FREE_PORT_H_
