#ifndef FACET_PROTO_REQUEST_KEYS_H_
#define FACET_PROTO_REQUEST_KEYS_H_

#include <vector>

#include "proto/page_key.h"
#include "proto/worker.pb.h"

namespace facet {

// What the keys of pages hold of a picture or sound: its digest, computed if the message has none.
MediaDigest DigestOf(const v1::Media& media);

// The keys of a request's whole pages, those of the tokens that it goes on from included. The
// request is taken to be right; of one that is not, the keys match nothing.
std::vector<PageKey> RequestPageKeys(const v1::GenerateRequest& request, int page_tokens);

}  // namespace facet

#endif  // FACET_PROTO_REQUEST_KEYS_H_
