#include "model/media/png_chunks.h"

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace facet {
namespace {

constexpr size_t kSignatureBytes = 8;
constexpr size_t kChunkFrameBytes = 12;  // length, type and checksum around a chunk's data

// Some writers leave a little more than the rows.
constexpr uint64_t kSurplusBytesMax = 65536;

absl::Status Damaged(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("PNG image: ", why));
}

uint32_t BigEndian(absl::string_view bytes) {
  uint32_t number = 0;
  for (int i = 0; i < 4; ++i) number = number << 8 | static_cast<uint8_t>(bytes[i]);
  return number;
}

// The bytes of the rows of a picture of these sides, a filter byte before each.
uint64_t RowsBytes(uint64_t width, uint64_t height, uint64_t pixel_bits) {
  return width == 0 ? 0 : height * (1 + (width * pixel_bits + 7) / 8);
}

// The bytes that the picture inflates to. `header` is the IHDR chunk's data.
absl::StatusOr<uint64_t> InflatedBytes(absl::string_view header) {
  if (header.size() != 13) return Damaged("header of wrong length");
  const uint64_t width = BigEndian(header);
  const uint64_t height = BigEndian(header.substr(4));
  const uint64_t depth = static_cast<uint8_t>(header[8]);
  constexpr int kChannelsByColorType[] = {1, 0, 3, 1, 2, 0, 4};
  const auto color_type = static_cast<uint8_t>(header[9]);
  if (depth > 16 || color_type > 6 || kChannelsByColorType[color_type] == 0) {
    return Damaged("header has an unknown form of colour");
  }
  const uint64_t pixel_bits = depth * kChannelsByColorType[color_type];
  const bool interlaced = header[12] != 0;
  if (!interlaced) return RowsBytes(width, height, pixel_bits);
  // Adam7: seven pictures, of every stepth pixel from the first on.
  struct Pass {
    int x, y, x_step, y_step;
  };
  constexpr Pass kPasses[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                              {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
  uint64_t bytes = 0;
  for (const Pass& pass : kPasses) {
    const uint64_t columns = (width + pass.x_step - 1 - pass.x) / pass.x_step;
    const uint64_t rows = (height + pass.y_step - 1 - pass.y) / pass.y_step;
    bytes += RowsBytes(columns, rows, pixel_bits);
  }
  return bytes;
}

// Whether the parts, one zlib stream, inflate to just `expected_bytes`.
absl::Status CheckInflatedBytes(const std::vector<absl::string_view>& parts,
                                uint64_t expected_bytes, const CpuDeadline& deadline) {
  z_stream stream = {};
  CHECK_EQ(inflateInit(&stream), Z_OK);
  const absl::Cleanup free = [&stream] { inflateEnd(&stream); };
  std::vector<unsigned char> out(65536);
  uint64_t bytes = 0;
  for (const absl::string_view part : parts) {
    stream.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(part.data()));
    stream.avail_in = static_cast<uInt>(part.size());
    do {
      stream.next_out = out.data();
      stream.avail_out = static_cast<uInt>(out.size());
      const int result = inflate(&stream, Z_NO_FLUSH);
      bytes += out.size() - stream.avail_out;
      if (bytes > expected_bytes + kSurplusBytesMax) {
        return Damaged("holds more data than its size has pixels");
      }
      if (result == Z_STREAM_END) {
        return bytes >= expected_bytes ? absl::OkStatus()
                                       : Damaged("holds less data than its size has pixels");
      }
      if (result == Z_BUF_ERROR) break;  // wants the next part
      if (result != Z_OK) return Damaged("compressed data is damaged");
      RETURN_IF_ERROR(deadline.Check("PNG image"));
    } while (stream.avail_in > 0 || stream.avail_out == 0);
  }
  // A stream that never says its end, yet holds all pixels, is what some writers make.
  return bytes >= expected_bytes ? absl::OkStatus() : Damaged("is cut short");
}

}  // namespace

absl::StatusOr<std::string> EssentialPng(absl::string_view file, const CpuDeadline& deadline) {
  std::string out(file.substr(0, kSignatureBytes));
  out.reserve(file.size());
  absl::string_view rest = file.substr(std::min(kSignatureBytes, file.size()));
  absl::string_view header;
  std::vector<absl::string_view> parts;
  for (absl::string_view type; type != "IEND";) {
    if (rest.size() < kChunkFrameBytes) return Damaged("is cut short");
    const uint32_t data_bytes = BigEndian(rest);
    if (data_bytes > rest.size() - kChunkFrameBytes) return Damaged("is cut short");
    type = rest.substr(4, 4);
    const absl::string_view data = rest.substr(8, data_bytes);
    if (header.empty() != (type == "IHDR")) return Damaged("header is not the first chunk");
    if (type == "IHDR") header = data;
    if (type == "IDAT") parts.push_back(data);
    // A colour that stands for transparent counts in grey and palette pictures alone, as in the
    // reference, which takes RGB pictures as they are.
    constexpr char kRgb = 2;
    const bool transparency = type == "tRNS" && header.size() > 9 && header[9] != kRgb;
    if (type == "IHDR" || type == "PLTE" || transparency || type == "IDAT" || type == "IEND") {
      const absl::string_view chunk = rest.substr(0, kChunkFrameBytes + data_bytes);
      out.append(chunk.data(), chunk.size());
    }
    rest.remove_prefix(kChunkFrameBytes + data_bytes);
  }
  ASSIGN_OR_RETURN(const uint64_t expected_bytes, InflatedBytes(header));
  RETURN_IF_ERROR(CheckInflatedBytes(parts, expected_bytes, deadline));
  return out;
}

}  // namespace facet
