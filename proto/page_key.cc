#include "proto/page_key.h"

#include <algorithm>
#include <array>

#include "base/sha256.h"

namespace facet {
namespace {

PageKey FirstHalf(const std::string& bytes) {
  const std::array<uint8_t, kSha256Bytes> digest = Sha256Of(bytes);
  PageKey key;
  std::copy_n(digest.begin(), key.size(), key.begin());
  return key;
}

void AppendNumber(std::string& out, uint32_t number) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(number >> shift));
}

}  // namespace

PageKey RootPageKey(absl::string_view salt, absl::string_view adapter_digest) {
  std::string bytes = "facet page key";
  AppendNumber(bytes, kPageKeyVersion);
  AppendNumber(bytes, static_cast<uint32_t>(salt.size()));
  bytes.append(salt.data(), salt.size());
  bytes.append(adapter_digest.data(), adapter_digest.size());
  return FirstHalf(bytes);
}

MediaDigest DigestOfMedia(uint32_t kind, uint32_t grid_width, absl::string_view bytes) {
  // The tensor may be large, so it is hashed where it is.
  const std::array<uint8_t, kSha256Bytes> tensor = Sha256Of(bytes);
  std::string head = "facet media";
  AppendNumber(head, kind);
  AppendNumber(head, grid_width);
  head.append(tensor.begin(), tensor.end());
  return FirstHalf(head);
}

PageKey NextPageKey(const PageKey& previous, absl::Span<const int32_t> tokens, int32_t first,
                    absl::Span<const MediaSpan> media) {
  std::string bytes(previous.size() + 4 * tokens.size(), '\0');
  std::copy(previous.begin(), previous.end(), bytes.begin());
  char* out = bytes.data() + previous.size();
  for (const int32_t token : tokens) {
    for (int shift = 0; shift < 32; shift += 8) *out++ = static_cast<char>(token >> shift);
  }
  for (const MediaSpan& span : media) {
    if (span.first + span.tokens <= first) continue;
    if (span.first >= first + static_cast<int32_t>(tokens.size())) break;
    AppendNumber(bytes, static_cast<uint32_t>(span.first - first));
    bytes.append(span.digest.begin(), span.digest.end());
  }
  return FirstHalf(bytes);
}

std::vector<PageKey> PageKeysOf(const PageKey& root, absl::Span<const int32_t> tokens,
                                int page_tokens, absl::Span<const MediaSpan> media) {
  std::vector<PageKey> keys;
  keys.reserve(tokens.size() / page_tokens);
  PageKey key = root;
  for (size_t first = 0; first + page_tokens <= tokens.size(); first += page_tokens) {
    key = NextPageKey(key, tokens.subspan(first, page_tokens), static_cast<int32_t>(first), media);
    keys.push_back(key);
  }
  return keys;
}

}  // namespace facet
