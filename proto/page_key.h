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
// A chain: each key is the first half of a SHA-256 over the key before it, the page's token ids
// (4 bytes each, little endian) and what pictures and sounds stand in it; the chain begins with
// what else the values depend on.
using PageKey = std::array<uint8_t, 16>;

// Raised whenever the bytes that are hashed change. Part of every key.
inline constexpr uint32_t kPageKeyVersion = 1;

// The start of a chain. `salt` keeps tenants from seeing each other's pages; equal salts share.
// `adapter_digest` is that of the LoRA adapter (model/adapter.h), empty without one.
PageKey RootPageKey(absl::string_view salt, absl::string_view adapter_digest = "");

// The first half of a SHA-256 over what a picture or sound is: `kind` and `grid_width` as of
// v1::Media, and the bytes of its tensor.
using MediaDigest = std::array<uint8_t, 16>;
MediaDigest DigestOfMedia(uint32_t kind, uint32_t grid_width, absl::string_view bytes);

// A picture or sound that has tokens [first, first + tokens) of a prompt.
struct MediaSpan {
  int32_t first = 0;
  int32_t tokens = 0;
  MediaDigest digest = {};
};

// The key of the page that holds `tokens`, the first of which stands at position `first`, and
// follows the page (or root) of key `previous`. Of `media`, ascending, those that have tokens in
// the page count, with the place in the page where they begin, before it if they do.
PageKey NextPageKey(const PageKey& previous, absl::Span<const int32_t> tokens, int32_t first = 0,
                    absl::Span<const MediaSpan> media = {});
// The keys of all whole pages of `tokens`, which begin at position 0, behind `root`.
std::vector<PageKey> PageKeysOf(const PageKey& root, absl::Span<const int32_t> tokens,
                                int page_tokens, absl::Span<const MediaSpan> media = {});

}  // namespace facet

#endif  // FACET_PROTO_PAGE_KEY_H_
