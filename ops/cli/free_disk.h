#ifndef FACET_OPS_CLI_FREE_DISK_H_
#define FACET_OPS_CLI_FREE_DISK_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace facet {

// RESOURCE_EXHAUSTED if the file system of `folder` has less than `bytes` free for us; names the
// folder and both numbers. OK where the system does not say.
absl::Status RequireFreeDisk(const std::string& folder, uint64_t bytes);

// "23.9 GB"
std::string FormatBytes(uint64_t bytes);

}  // namespace facet

#endif  // FACET_OPS_CLI_FREE_DISK_H_
