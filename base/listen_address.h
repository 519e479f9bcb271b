#ifndef FACET_BASE_LISTEN_ADDRESS_H_
#define FACET_BASE_LISTEN_ADDRESS_H_

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace facet {

// What a gRPC server listens on: HOST:PORT, an IPv6 address in brackets.
inline std::string ListenAddress(absl::string_view host, int port) {
  const bool is_v6 = absl::StrContains(host, ':');
  return absl::StrCat(is_v6 ? "[" : "", host, is_v6 ? "]" : "", ":", port);
}

}  // namespace facet

#endif  // FACET_BASE_LISTEN_ADDRESS_H_
