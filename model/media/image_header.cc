#include "model/media/image_header.h"

#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace facet {
namespace {

// Numbers at an offset of the file. A number past the end is 0, which no header accepts as a side.
uint64_t LittleEndian(absl::string_view file, size_t offset, int bytes) {
  if (file.size() < offset + bytes) return 0;
  uint64_t number = 0;
  for (int i = bytes - 1; i >= 0; --i)
    number = number << 8 | static_cast<uint8_t>(file[offset + i]);
  return number;
}

uint64_t BigEndian(absl::string_view file, size_t offset, int bytes) {
  if (file.size() < offset + bytes) return 0;
  uint64_t number = 0;
  for (int i = 0; i < bytes; ++i) number = number << 8 | static_cast<uint8_t>(file[offset + i]);
  return number;
}

ImageHeader ReadPng(absl::string_view file) {
  return {ImageFormat::kPng, static_cast<int64_t>(BigEndian(file, 16, 4)),
          static_cast<int64_t>(BigEndian(file, 20, 4))};
}

// Where the blocks of data that begin at `at` end: each has its length before it, the last is
// empty. The end of the file if they are cut short.
size_t GifBlocksEnd(absl::string_view file, size_t at) {
  while (at < file.size()) {
    const size_t block_bytes = static_cast<uint8_t>(file[at]);
    at += 1 + block_bytes;
    if (block_bytes == 0) break;
  }
  return at;
}

// The bytes of the palette that the flags before it announce.
size_t GifPaletteBytes(char flags) {
  constexpr uint8_t kHasPalette = 0x80;
  const auto bits = static_cast<uint8_t>(flags);
  return (bits & kHasPalette) == 0 ? 0 : size_t{3} << ((bits & 7) + 1);
}

// Walks the blocks of a GIF to the end of its first picture, because a decoder makes up what is
// missing of one that was cut short.
absl::StatusOr<ImageHeader> ReadGif(absl::string_view file) {
  constexpr size_t kScreenEnd = 13;
  constexpr char kExtension = 0x21;
  constexpr char kPicture = 0x2c;
  size_t at = file.size() < kScreenEnd ? file.size() : kScreenEnd + GifPaletteBytes(file[10]);
  while (at + 2 < file.size() && file[at] == kExtension) at = GifBlocksEnd(file, at + 2);
  if (at + 10 < file.size() && file[at] == kPicture) {
    const size_t data = at + 10 + GifPaletteBytes(file[at + 9]) + 1;
    const size_t end = GifBlocksEnd(file, data);
    if (data < file.size() && end <= file.size() && file[end - 1] == 0) {
      return ImageHeader{ImageFormat::kGif, static_cast<int64_t>(LittleEndian(file, 6, 2)),
                         static_cast<int64_t>(LittleEndian(file, 8, 2))};
    }
  }
  return absl::InvalidArgumentError("GIF image: holds no whole picture, or is damaged");
}

ImageHeader ReadBmp(absl::string_view file) {
  constexpr uint64_t kOldHeaderBytes = 12;
  if (LittleEndian(file, 14, 4) == kOldHeaderBytes) {
    return {ImageFormat::kBmp, static_cast<int64_t>(LittleEndian(file, 18, 2)),
            static_cast<int64_t>(LittleEndian(file, 20, 2))};
  }
  // A negative height means that the first row is the top one.
  const auto height = static_cast<int32_t>(LittleEndian(file, 22, 4));
  return {ImageFormat::kBmp, static_cast<int32_t>(LittleEndian(file, 18, 4)),
          std::abs(int64_t{height})};
}

absl::StatusOr<ImageHeader> ReadWebp(absl::string_view file) {
  const absl::string_view chunk = file.substr(12, 4);
  if (chunk == "VP8 ") {
    return ImageHeader{ImageFormat::kWebp, static_cast<int64_t>(LittleEndian(file, 26, 2) & 0x3fff),
                       static_cast<int64_t>(LittleEndian(file, 28, 2) & 0x3fff)};
  }
  if (chunk == "VP8L") {
    const uint64_t bits = LittleEndian(file, 21, 4);
    if (file.size() < 25) return absl::InvalidArgumentError("WebP image: header is cut short");
    return ImageHeader{ImageFormat::kWebp, static_cast<int64_t>(bits & 0x3fff) + 1,
                       static_cast<int64_t>(bits >> 14 & 0x3fff) + 1};
  }
  if (chunk != "VP8X" || file.size() < 30) {
    return absl::InvalidArgumentError("WebP image: header is cut short or unknown");
  }
  constexpr uint64_t kAnimated = 2;
  if ((LittleEndian(file, 20, 1) & kAnimated) != 0) {
    return absl::InvalidArgumentError("WebP image: is animated; send one picture, or a video");
  }
  return ImageHeader{ImageFormat::kWebp, static_cast<int64_t>(LittleEndian(file, 24, 3)) + 1,
                     static_cast<int64_t>(LittleEndian(file, 27, 3)) + 1};
}

// Walks the markers of a JPEG: sides and scans stand in some of them, and a file that was cut
// short, whose missing part a decoder would make up in grey, has no end marker.
absl::StatusOr<ImageHeader> ReadJpeg(absl::string_view file) {
  ImageHeader header = {ImageFormat::kJpeg, 0, 0, 0};
  size_t at = 2;
  while (true) {
    // Between segments, and within a scan's data, a marker begins with 0xff. There 0xff 0x00 is a
    // byte of data, d0 to d7 restart the scan, and further 0xff fill.
    at = file.find('\xff', at);
    if (at == absl::string_view::npos || at + 1 >= file.size()) break;
    const auto marker = static_cast<uint8_t>(file[++at]);
    if (marker == 0xff) continue;
    ++at;
    if (marker == 0xd9) {
      if (header.width == 0 || header.scans == 0) break;
      return header;
    }
    if (marker == 0 || marker == 1 || (marker >= 0xd0 && marker <= 0xd8)) continue;
    const uint64_t segment_bytes = BigEndian(file, at, 2);
    if (segment_bytes < 2 || file.size() - at < segment_bytes) break;
    // Frame headers are c0 to cf, save tables (c4, cc) and the reserved c8.
    if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) {
      if (header.scans > 0 || header.width > 0) break;  // a second picture in the first
      header.height = static_cast<int64_t>(BigEndian(file, at + 3, 2));
      header.width = static_cast<int64_t>(BigEndian(file, at + 5, 2));
    }
    if (marker == 0xda) ++header.scans;
    at += segment_bytes;
  }
  return absl::InvalidArgumentError("JPEG image: is damaged or cut short");
}

absl::StatusOr<ImageHeader> ReadHeader(absl::string_view file) {
  if (absl::StartsWith(file, "\x89PNG\r\n\x1a\n")) return ReadPng(file);
  if (absl::StartsWith(file, "\xff\xd8\xff")) return ReadJpeg(file);
  if (absl::StartsWith(file, "GIF87a") || absl::StartsWith(file, "GIF89a")) return ReadGif(file);
  if (absl::StartsWith(file, "RIFF") && file.size() >= 16 && file.substr(8, 4) == "WEBP") {
    return ReadWebp(file);
  }
  if (absl::StartsWith(file, "BM")) return ReadBmp(file);
  return absl::InvalidArgumentError("image: is none of PNG, JPEG, WebP, GIF and BMP");
}

}  // namespace

absl::string_view ImageFormatName(ImageFormat format) {
  switch (format) {
    case ImageFormat::kBmp:
      return "BMP";
    case ImageFormat::kGif:
      return "GIF";
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kWebp:
      return "WebP";
  }
  return "unknown";
}

absl::StatusOr<ImageHeader> ReadImageHeader(absl::string_view file) {
  ASSIGN_OR_RETURN(const ImageHeader header, ReadHeader(file));
  if (header.width <= 0 || header.height <= 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        ImageFormatName(header.format), " image: header gives no size, or is cut short"));
  }
  return header;
}

}  // namespace facet
