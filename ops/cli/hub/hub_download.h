#ifndef FACET_OPS_CLI_HUB_HUB_DOWNLOAD_H_
#define FACET_OPS_CLI_HUB_HUB_DOWNLOAD_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "ops/cli/hub/hub_client.h"
#include "ops/cli/hub/hub_listing.h"

namespace facet {

// Brings one file of a hub to `path`, where it stands only when it is whole and its digest is the
// hub's. What arrived before an interruption, of whatever kind, waits in "PATH.part" and is not
// asked for again. A file that is at `path` already and right is left as it is. `heard` is called
// with the number of bytes that are there.
// ALREADY_EXISTS: another process downloads it. DATA_LOSS: the hub sends other bytes, more or fewer
// than it lists. Else what HubClient::BlockingGet says, or the file system.
absl::Status BlockingDownload(HubClient& client, absl::string_view target, const HubFile& file,
                              const std::string& path,
                              const std::function<void(uint64_t bytes)>& heard);

// How many of its bytes a download of `file` to `path` need not ask for.
uint64_t BytesPresent(const HubFile& file, const std::string& path);

}  // namespace facet

#endif  // FACET_OPS_CLI_HUB_HUB_DOWNLOAD_H_
