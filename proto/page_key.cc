#include "proto/page_key.h"

#include <algorithm>
#include <cstring>

#include "openssl/sha.h"

namespace facet {
namespace {

PageKey FirstHalf(const std::string& bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  PageKey key;
  std::copy_n(digest, key.size(), key.begin());
  return key;
}

void AppendNumber(std::string& out, uint32_t number) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(number >> shift));
}

}  // namespace

PageKey RootPageKey(absl::string_view salt) {
  std::string bytes = "facet page key";
  AppendNumber(bytes, kPageKeyVersion);
  AppendNumber(bytes, static_cast<uint32_t>(salt.size()));
  bytes.append(salt.data(), salt.size());
  return FirstHalf(bytes);
}

PageKey NextPageKey(const PageKey& previous, absl::Span<const int32_t> tokens) {
  std::string bytes(previous.begin(), previous.end());
  bytes.reserve(bytes.size() + 4 * tokens.size());
  for (const int32_t token : tokens) AppendNumber(bytes, static_cast<uint32_t>(token));
  return FirstHalf(bytes);
}

}  // namespace facet
