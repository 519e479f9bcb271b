#ifndef FACET_KERNELS_GLOO_COLLECTIVE_H_
#define FACET_KERNELS_GLOO_COLLECTIVE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/collective.h"

namespace facet {

// One rank's end of a Gloo mesh over TCP, for ranks on several hosts, before it is connected: first
// each rank listens, then the ranks tell each other their addresses, by means of the caller's, then
// each connects. Used by one thread.
class GlooMesh {
 public:
  // Listens at `host`, an address of this machine that the others reach. INVALID_ARGUMENT: rank and
  // size make no group; UNAVAILABLE: cannot listen there.
  static absl::StatusOr<std::unique_ptr<GlooMesh>> Listen(int rank, int size,
                                                          const std::string& host);
  virtual ~GlooMesh() = default;

  // What rank i needs to reach this one, for each i; empty for itself. Not text.
  virtual const std::vector<std::string>& addresses() const = 0;

  // `addresses[i]`: what rank i has for this one. Waits until all are connected, for a minute at
  // most. The mesh is used up. UNAVAILABLE: a rank could not be reached.
  virtual absl::StatusOr<std::unique_ptr<Collective>> BlockingConnect(
      const std::vector<std::string>& addresses, const CollectiveOptions& options) = 0;
};

}  // namespace facet

#endif  // FACET_KERNELS_GLOO_COLLECTIVE_H_
