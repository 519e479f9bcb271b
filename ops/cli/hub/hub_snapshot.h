#ifndef FACET_OPS_CLI_HUB_HUB_SNAPSHOT_H_
#define FACET_OPS_CLI_HUB_HUB_SNAPSHOT_H_

#include <string>

#include "absl/status/statusor.h"
#include "ops/cli/hub/hub_client.h"
#include "ops/cli/hub/hub_listing.h"

namespace facet {

// Brings the files that an import reads of a repository into a folder of its own below
// `cache_folder`, made where it is missing, and returns it. Shows on stderr how far it is. Errors
// begin with the repository's name. RESOURCE_EXHAUSTED: the disk has no room for them, which is
// found out before the weights are asked for.
absl::StatusOr<std::string> BlockingFetchSnapshot(HubClient& client,
                                                  const HubRepository& repository,
                                                  const std::string& cache_folder);

}  // namespace facet

#endif  // FACET_OPS_CLI_HUB_HUB_SNAPSHOT_H_
