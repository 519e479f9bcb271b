#ifndef FACET_ROUTER_MEDIA_MEDIA_PART_H_
#define FACET_ROUTER_MEDIA_MEDIA_PART_H_

#include <string>

namespace facet {

// A picture, sound or video as a request names it: plain values, not yet fetched or decoded.
struct MediaPart {
  enum class Kind { kImage, kAudio, kVideo };

  Kind kind = Kind::kImage;
  std::string param;   // The field of the request that it came in, for errors.
  std::string base64;  // The file. Empty: it is at `url`, or in `bytes`.
  std::string url;     // https://...
  std::string bytes;   // The file as it is.
  // Of a picture: how many tokens it may have at most; a choice of model/media/image_size.h.
  int image_tokens_max = 280;
  // The client named that number itself, so that less is no answer.
  bool image_tokens_named = false;
};

// "image", "audio", "video".
inline const char* NameOf(MediaPart::Kind kind) {
  if (kind == MediaPart::Kind::kImage) return "image";
  return kind == MediaPart::Kind::kAudio ? "audio" : "video";
}

}  // namespace facet

#endif  // FACET_ROUTER_MEDIA_MEDIA_PART_H_
