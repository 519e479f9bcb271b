#ifndef FACET_MODEL_MEDIA_PNG_CHUNKS_H_
#define FACET_MODEL_MEDIA_PNG_CHUNKS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/media/cpu_deadline.h"

namespace facet {

// The PNG file with nothing in it but what its first picture needs, because a decoder inflates all
// that it finds: texts and colour profiles are left out, and compressed data past the last pixel,
// which may be a thousand times its length, is refused. INVALID_ARGUMENT where the chunks are cut
// short, out of bounds, or hold less data than the picture has, or much more. Costs one pass of
// zlib over the picture, with 64 KiB of memory beside the result. Thread-safe.
absl::StatusOr<std::string> EssentialPng(absl::string_view file, const CpuDeadline& deadline);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_PNG_CHUNKS_H_
