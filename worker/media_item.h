#ifndef FACET_WORKER_MEDIA_ITEM_H_
#define FACET_WORKER_MEDIA_ITEM_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "proto/worker.pb.h"

namespace facet {

inline constexpr int kPatchElements = 48 * 48 * 3;  // of an image's token
inline constexpr int kFrameSamples = 640;           // of a sound's token: 40 ms
inline constexpr int kImageTokensMax = 1120;        // the largest token budget of Gemma 4

// A picture or sound on its way through the engine: v1::Media after CheckMedia. `data` belongs to
// the request.
struct MediaItem {
  bool image = false;       // otherwise a sound
  int32_t first_token = 0;  // of the prompt
  int32_t tokens = 0;
  int32_t grid_width = 0;  // of an image
  bool float_samples = false;
  absl::string_view data;  // empty: not here yet

  int32_t end() const { return first_token + tokens; }
};

// One of its tokens, which a step computes.
struct MediaToken {
  int32_t row;  // of the batch
  const MediaItem* item;
  int32_t index;  // within the item
};

// What a worker can embed.
struct MediaLimits {
  bool images = false, sounds = false;
  int grid_side_max = 0;     // positions that an image may have along either side
  int image_tokens_max = 0;  // that one image may have
};

// The bytes that the tensor of `media` has, by its shape.
int64_t MediaBytes(const v1::Media& media);

// INVALID_ARGUMENT names the field of `media` that is wrong: a shape that its bytes do not have, a
// place outside the prompt of `prompt_count` tokens, samples that are no numbers, a digest of other
// bytes. An item with a digest may lack its data.
absl::Status CheckMedia(const google::protobuf::RepeatedPtrField<v1::Media>& media,
                        int prompt_count, const MediaLimits& limits);

// The same for one item, whose data are `data`; `index` is its place in the request.
absl::Status CheckMediaData(const v1::Media& media, int index, absl::string_view data);

// REQUIRES: CheckMedia.
MediaItem MediaItemOf(const v1::Media& media);

// The values of one token, as the embedders take them: of an image [3, 48, 48] from 0 to 1, colour
// by colour as llama.cpp's projectors want it; of a sound [640].
void WriteMediaValues(const MediaToken& token, float* out);

}  // namespace facet

#endif  // FACET_WORKER_MEDIA_ITEM_H_
