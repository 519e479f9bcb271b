#ifndef FACET_BASE_NAME_LOOKUP_H_
#define FACET_BASE_NAME_LOOKUP_H_

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace facet {

using Addresses = std::vector<boost::asio::ip::address>;

// Asks for the addresses of a host; may block for as long as it likes.
using BlockingNameLookup = std::function<absl::StatusOr<Addresses>(const std::string& host)>;

// The system's way (getaddrinfo). UNAVAILABLE says why there is no address.
absl::StatusOr<Addresses> BlockingSystemLookup(const std::string& host);

// The addresses of `host` by `end` at the latest. The system's lookup takes no time limit and
// cannot be stopped, so each runs on a thread of its own, which is left behind at `end` and goes
// when the system lets it; there are 32 of these at most in a process, so that a name server that
// hangs costs a bounded number of threads and holds up no other name. Runs on the caller's strand.
// DEADLINE_EXCEEDED at `end`; RESOURCE_EXHAUSTED when 32 are waiting already.
boost::asio::awaitable<absl::StatusOr<Addresses>> LookUpName(
    std::string host, std::chrono::steady_clock::time_point end,
    BlockingNameLookup lookup = BlockingSystemLookup);

}  // namespace facet

#endif  // FACET_BASE_NAME_LOOKUP_H_
