#ifndef FACET_BASE_TARGET_H_
#define FACET_BASE_TARGET_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// Where something listens: HOST:PORT; or, as dns:///NAME:PORT, all addresses that a name has, each
// with that port.
struct Target {
  std::string host;  // A name or an address; of IPv6 without its brackets.
  int port = 0;      // In [1, 65535].
  bool all_addresses = false;
};

// INVALID_ARGUMENT says what is wrong with the text, and quotes it.
absl::StatusOr<Target> ParseTarget(absl::string_view text);

// The same of something that listens in one place: dns:/// is refused.
absl::StatusOr<Target> ParseOneTarget(absl::string_view text);

// Whether `host` stands for all addresses of a host, so that nobody else reaches it by that name.
bool IsWildcardHost(absl::string_view host);

}  // namespace facet

#endif  // FACET_BASE_TARGET_H_
