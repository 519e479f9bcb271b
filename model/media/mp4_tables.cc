#include "model/media/mp4_tables.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace facet {
namespace {

constexpr uint64_t kSamplesMax = 4'000'000;
constexpr size_t kBoxHeaderBytes = 8;

// 0 past the end of the file.
uint64_t BigEndian(absl::string_view file, size_t offset, int bytes) {
  if (file.size() < bytes + offset) return 0;
  uint64_t number = 0;
  for (int i = 0; i < bytes; ++i) number = number << 8 | static_cast<uint8_t>(file[offset + i]);
  return number;
}

// The length of the box at the start of `file`, its header included, and at most what there is.
size_t BoxBytes(absl::string_view file) {
  uint64_t bytes = BigEndian(file, 0, 4);
  if (bytes == 1) bytes = BigEndian(file, 8, 8);
  // 0 means to the end; a length that cannot be makes the rest one box.
  return bytes < kBoxHeaderBytes ? file.size() : std::min<uint64_t>(bytes, file.size());
}

// The samples that tables of one kind claim anywhere in `boxes`. A reader looks into boxes in any
// order and nesting, so this looks at every byte.
uint64_t ClaimedSamples(absl::string_view boxes, absl::string_view kind, size_t count_offset) {
  uint64_t samples = 0;
  for (size_t at = boxes.find(kind); at != absl::string_view::npos; at = boxes.find(kind, at + 4)) {
    samples += BigEndian(boxes, at + 4 + count_offset, 4);
  }
  return samples;
}

}  // namespace

absl::Status CheckMp4Tables(absl::string_view file) {
  uint64_t samples = 0;
  while (file.size() >= kBoxHeaderBytes) {
    const absl::string_view box = file.substr(0, BoxBytes(file));
    file.remove_prefix(box.size());
    // The samples themselves, which no reader searches for tables.
    if (box.substr(4, 4) == "mdat") continue;
    if (box.find("cmov") != absl::string_view::npos) {
      return absl::InvalidArgumentError("tables are compressed, which is not taken");
    }
    // Where the count stands behind the name: after version, flags, and the size of all samples.
    samples += ClaimedSamples(box, "stsz", 8) + ClaimedSamples(box, "stz2", 8) +
               ClaimedSamples(box, "trun", 4);
    if (samples > kSamplesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("tables claim ", samples, " samples, over the limit of ", kSamplesMax));
    }
  }
  return absl::OkStatus();
}

}  // namespace facet
