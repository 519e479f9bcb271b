#ifndef FACET_WORKER_PAGE_WIRE_H_
#define FACET_WORKER_PAGE_WIRE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "proto/worker.pb.h"
#include "worker/prefix_cache.h"

namespace facet {

// What the two sides of PullPages (proto/worker.proto) have in common.

// The longest context has 4,096 pages, in two pools.
inline constexpr int kPullPagesMax = 8192;
// Half of what gRPC writes best, so that hashing one holds nobody up for longer than half a
// millisecond.
inline constexpr int64_t kPullPieceBytesMax = 512 << 10;

// Asks for pages, those of the full layers first. REQUIRES: `pages` are in that order.
v1::PullPagesRequest MakePullRequest(absl::string_view label, absl::Span<const PoolKey> pages);
// The pages that are asked for. INVALID_ARGUMENT naming the field.
absl::StatusOr<std::vector<PoolKey>> ParsePullRequest(const v1::PullPagesRequest& request);

// SHA-256 over the pool (a byte, 0 for full layers), the key, the place in the page where the piece
// begins (8 bytes, little endian) and the piece: so neither wrong bytes nor right ones at a wrong
// place are taken for the page.
std::string DigestOfPiece(const PoolKey& page, uint64_t offset, absl::string_view piece);

}  // namespace facet

#endif  // FACET_WORKER_PAGE_WIRE_H_
