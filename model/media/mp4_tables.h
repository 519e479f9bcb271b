#ifndef FACET_MODEL_MEDIA_MP4_TABLES_H_
#define FACET_MODEL_MEDIA_MP4_TABLES_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace facet {

// FFmpeg takes memory for as many samples as the tables of an MP4 or QuickTime file claim (24 bytes
// each, in every track), and a claim of millions takes the file four bytes. INVALID_ARGUMENT where
// all tables together claim more than 4 million, or where they are compressed; that is more than a
// minute of 48 kHz sound, one sample each, beside any number of pictures. Thread-safe.
absl::Status CheckMp4Tables(absl::string_view file);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_MP4_TABLES_H_
