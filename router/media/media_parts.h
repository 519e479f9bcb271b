#ifndef FACET_ROUTER_MEDIA_MEDIA_PARTS_H_
#define FACET_ROUTER_MEDIA_MEDIA_PARTS_H_

#include <boost/json/fwd.hpp>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "router/media/media_part.h"

namespace facet {

// Bounds of one request; more is an error that says so.
inline constexpr int kMediaPartsMax = 64;
inline constexpr int kMediaBytesMax = 128 << 20;  // of all files as they are sent

// Takes pictures, sounds and videos out of a chat's `messages`: each content part of type
// `image_url`, `input_audio`, `audio_url` or `video_url` becomes {"type": "image"}, "audio" or
// "video", which the chat template renders as a placeholder, and what it held is given back, in
// the order of the placeholders. Parts of other types are left as they are. InvalidParam names the
// field that is wrong. A pure function.
absl::StatusOr<std::vector<MediaPart>> TakeMediaParts(boost::json::object& body);

// Whether a part's `type` is one that TakeMediaParts takes.
bool IsMediaPartType(absl::string_view type);

// The same parts in a list `media` beside a prompt that holds the placeholders itself.
absl::StatusOr<std::vector<MediaPart>> TakeMediaList(boost::json::object& body);

}  // namespace facet

#endif  // FACET_ROUTER_MEDIA_MEDIA_PARTS_H_
