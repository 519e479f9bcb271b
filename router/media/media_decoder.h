#ifndef FACET_ROUTER_MEDIA_MEDIA_DECODER_H_
#define FACET_ROUTER_MEDIA_MEDIA_DECODER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/worker.pb.h"
#include "router/media/media_part.h"

namespace facet {

// A picture, video frame or sound as a worker takes it.
struct MediaTensor {
  v1::Media head;    // All but its place in the prompt and its data.
  std::string data;  // As v1::Media says.
};

// A picture, sound or video that is decoded: one tensor, or one for each frame.
struct DecodedMedia {
  MediaPart::Kind kind = MediaPart::Kind::kImage;
  std::string param;  // As of MediaPart.
  std::vector<MediaTensor> tensors;
  std::vector<std::string> timestamps;  // Of a video's frames: mm:ss.
};

// Decodes a part whose file is in `base64` or `bytes`; both are empty afterwards. InvalidParam
// names the part's field and says what is wrong with the file, which limit it passes, or that the
// model of `support` takes no such media. One thread's work, up to 20 s of processor time for a
// video and 2 s for others.
absl::StatusOr<DecodedMedia> DecodeMedia(MediaPart part, const v1::MediaSupport& support);

// The most bytes that the tensors of a part will have.
int64_t DecodedBytesMax(const MediaPart& part);

}  // namespace facet

#endif  // FACET_ROUTER_MEDIA_MEDIA_DECODER_H_
