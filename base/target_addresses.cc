#include "base/target_addresses.h"

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/this_coro.hpp>
#include <utility>

#include "base/listen_address.h"
#include "base/log.h"

namespace facet {

namespace asio = boost::asio;

TargetAddresses::TargetAddresses(const std::vector<Target>& targets, BlockingNameLookup lookup)
    : lookup_(std::move(lookup)) {
  for (const Target& target : targets) {
    if (target.all_addresses) {
      names_.push_back({target, {}, false});
    } else {
      listed_.insert(ListenAddress(target.host, target.port));
    }
  }
}

asio::awaitable<void> TargetAddresses::Resolve(std::chrono::steady_clock::duration time_limit) {
  for (Name& name : names_) {
    const auto end = std::chrono::steady_clock::now() + time_limit;
    const absl::StatusOr<Addresses> answer = co_await LookUpName(name.target.host, end, lookup_);
    const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
    Take(answer, name);
  }
}

void TargetAddresses::Take(const absl::StatusOr<Addresses>& answer, Name& name) {
  if (!answer.ok() || answer->empty()) {
    if (!std::exchange(name.in_trouble, true)) {
      LogWarning("a name has no addresses; those that were known stay",
                 {{"name", name.target.host},
                  {"known", name.addresses.size()},
                  {"reason", answer.ok() ? absl::string_view("the answer was empty")
                                         : answer.status().message()}});
    }
    return;
  }
  if (std::exchange(name.in_trouble, false)) {
    LogInfo("a name has addresses again", {{"name", name.target.host}});
  }
  name.addresses.clear();
  for (const asio::ip::address& address : *answer) {
    name.addresses.insert(ListenAddress(address.to_string(), name.target.port));
  }
}

std::set<std::string> TargetAddresses::resolved() const {
  std::set<std::string> all;
  for (const Name& name : names_) all.insert(name.addresses.begin(), name.addresses.end());
  return all;
}

}  // namespace facet
