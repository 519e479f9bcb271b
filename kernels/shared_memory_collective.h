#ifndef FACET_KERNELS_SHARED_MEMORY_COLLECTIVE_H_
#define FACET_KERNELS_SHARED_MEMORY_COLLECTIVE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/collective.h"

namespace facet {

// Makes the memory that the ranks of one host meet in, and gives back its descriptor. It has no
// name, so nothing is left of it once the last process that holds it has ended, however that
// happens. INVALID_ARGUMENT: `size` is not in [2, kRanksMax].
absl::StatusOr<int> MakeSharedSegment(int size);

// A collective over a segment: each rank writes its part beside the others', says so, waits until
// all have, and reads theirs; so an all-reduce has one exchange for each 256 KiB. A wait spins for
// some ten microseconds, yields, then sleeps. Maps the segment; the descriptor may be closed then.
// INVALID_ARGUMENT: the descriptor is no segment for `size` ranks.
absl::StatusOr<std::unique_ptr<Collective>> MakeSharedMemoryCollective(
    int descriptor, int rank, int size, const CollectiveOptions& options);

}  // namespace facet

#endif  // FACET_KERNELS_SHARED_MEMORY_COLLECTIVE_H_
