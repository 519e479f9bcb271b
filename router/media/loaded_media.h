#ifndef FACET_ROUTER_MEDIA_LOADED_MEDIA_H_
#define FACET_ROUTER_MEDIA_LOADED_MEDIA_H_

#include <vector>

#include "router/media/byte_budget.h"
#include "router/media/media_decoder.h"

namespace facet {

// All pictures, sounds and videos of one request, ready for a worker. Immutable once it is made,
// and shared by the request's answers, which keep it until they end: a worker that lacks it may ask
// at any time, and another worker may have to go on with the answer.
struct LoadedMedia {
  std::vector<DecodedMedia> parts;  // In the order of their placeholders.
  ByteBudget::Lease lease;          // On the bytes of `parts`.

  // Of all parts, as they are numbered in v1::GenerateRequest.media.
  std::vector<const MediaTensor*> Tensors() const {
    std::vector<const MediaTensor*> tensors;
    for (const DecodedMedia& part : parts) {
      for (const MediaTensor& tensor : part.tensors) tensors.push_back(&tensor);
    }
    return tensors;
  }
};

}  // namespace facet

#endif  // FACET_ROUTER_MEDIA_LOADED_MEDIA_H_
