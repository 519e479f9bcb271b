#include "proto/request_keys.h"

#include <algorithm>

namespace facet {

MediaDigest DigestOf(const v1::Media& media) {
  if (media.digest().empty()) {
    return DigestOfMedia(media.kind(), media.grid_width(), media.data());
  }
  MediaDigest digest = {};
  std::copy_n(media.digest().begin(), std::min(media.digest().size(), digest.size()),
              digest.begin());
  return digest;
}

std::vector<PageKey> RequestPageKeys(const v1::GenerateRequest& request, int page_tokens) {
  std::vector<int32_t> tokens(request.prompt_tokens().begin(), request.prompt_tokens().end());
  tokens.insert(tokens.end(), request.resume_from().begin(), request.resume_from().end());
  std::vector<MediaSpan> media;
  for (const v1::Media& item : request.media()) {
    media.push_back({static_cast<int32_t>(item.first_token()), static_cast<int32_t>(item.tokens()),
                     DigestOf(item)});
  }
  return PageKeysOf(RootPageKey(request.cache_salt(), request.adapter_digest()), tokens, page_tokens, media);
}

}  // namespace facet
