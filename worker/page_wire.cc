#include "worker/page_wire.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace facet {
namespace {

constexpr size_t kKeyBytes = sizeof(PageKey);

absl::string_view BytesOf(const PageKey& key) {
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}

absl::Status AppendKeys(absl::string_view field, KvPool pool, absl::string_view bytes,
                        std::vector<PoolKey>& pages) {
  if (bytes.size() % kKeyBytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " has ", bytes.size(), " bytes, not ", kKeyBytes, " for each page"));
  }
  for (; !bytes.empty(); bytes.remove_prefix(kKeyBytes)) {
    PageKey key;
    std::copy_n(bytes.begin(), kKeyBytes, key.begin());
    pages.emplace_back(pool, key);
  }
  return absl::OkStatus();
}

}  // namespace

v1::PullPagesRequest MakePullRequest(absl::string_view label, absl::Span<const PoolKey> pages) {
  v1::PullPagesRequest request;
  request.set_label(std::string(label));
  for (const auto& [pool, key] : pages) {
    const bool full = pool == KvPool::kFull;
    CHECK(!full || request.sliding_keys().empty()) << "full pages come first";
    const absl::string_view bytes = BytesOf(key);
    (full ? request.mutable_full_keys() : request.mutable_sliding_keys())
        ->append(bytes.data(), bytes.size());
  }
  return request;
}

absl::StatusOr<std::vector<PoolKey>> ParsePullRequest(const v1::PullPagesRequest& request) {
  const size_t count = (request.full_keys().size() + request.sliding_keys().size()) / kKeyBytes;
  if (count > kPullPagesMax) {
    return absl::InvalidArgumentError(absl::StrCat("full_keys and sliding_keys name ", count,
                                                   " pages, the most is ", kPullPagesMax));
  }
  std::vector<PoolKey> pages;
  RETURN_IF_ERROR(AppendKeys("full_keys", KvPool::kFull, request.full_keys(), pages));
  RETURN_IF_ERROR(AppendKeys("sliding_keys", KvPool::kSliding, request.sliding_keys(), pages));
  if (pages.empty()) {
    return absl::InvalidArgumentError("full_keys and sliding_keys are empty: no page is asked for");
  }
  return pages;
}

std::string DigestOfPiece(const PoolKey& page, uint64_t offset, absl::string_view piece) {
  std::string place(1, static_cast<char>(page.first));
  for (int i = 0; i < 8; ++i) place.push_back(static_cast<char>(offset >> (8 * i)));
  return Sha256(
      {place.substr(0, 1), BytesOf(page.second), absl::string_view(place).substr(1), piece});
}

}  // namespace facet
