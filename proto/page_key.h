#ifndef FACET_PROTO_PAGE_KEY_H_
#define FACET_PROTO_PAGE_KEY_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace facet {

// What a page of keys and values was computed from, as 16 bytes: routers and workers compute equal
// keys for equal prefixes, and a page may serve another request if and only if its key is equal.
// A chain: each key is the first half of a SHA-256 over the key before it and the page's token ids
// (4 bytes each, little endian); the chain begins with what else the values depend on.
using PageKey = std::array<uint8_t, 16>;

// Raised whenever the bytes that are hashed change. Part of every key.
inline constexpr uint32_t kPageKeyVersion = 1;

// The start of a chain. `salt` keeps tenants from seeing each other's pages; equal salts share.
PageKey RootPageKey(absl::string_view salt);

// The key of the page that holds `tokens` and follows the page (or root) of key `previous`.
PageKey NextPageKey(const PageKey& previous, absl::Span<const int32_t> tokens);

}  // namespace facet

#endif  // FACET_PROTO_PAGE_KEY_H_
