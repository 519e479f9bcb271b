#include "model/media/testing/test_media.h"

#include <openssl/sha.h>
#include <sys/resource.h>
#include <time.h>
#include <zlib.h>

#include <algorithm>
#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/testing/files.h"

namespace facet::testing {
namespace {

constexpr size_t kPngHeaderEnd = 33;  // signature and IHDR chunk

std::string BigEndian(uint32_t number) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(number >> shift));
  return bytes;
}

std::string PngChunk(absl::string_view type, absl::string_view data) {
  const std::string body = absl::StrCat(type, data);
  const auto checksum =
      crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return absl::StrCat(BigEndian(static_cast<uint32_t>(data.size())), body,
                      BigEndian(static_cast<uint32_t>(checksum)));
}

int64_t PeakMemoryBytes() {
  rusage usage;
  CHECK_EQ(getrusage(RUSAGE_SELF, &usage), 0);
  return int64_t{usage.ru_maxrss} * 1024;
}

double ThreadCpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

std::string ReadMedia(absl::string_view name) {
  return ReadFile(absl::StrCat("tests/testdata/media/", name));
}

std::string ReadGolden(absl::string_view name) {
  return ReadFile(absl::StrCat("tests/testdata/golden/", name));
}

std::string Sha256Hex(absl::string_view bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest), sizeof(digest)});
}

double CpuSeconds(const std::function<void()>& work) {
  const double begin = ThreadCpuSeconds();
  work();
  return ThreadCpuSeconds() - begin;
}

int64_t PeakMemoryGrowthBytes(const std::function<void()>& work) {
  const int64_t before = PeakMemoryBytes();
  work();
  return PeakMemoryBytes() - before;
}

std::vector<std::string> DamagedCopies(absl::string_view file, int flips, uint32_t seed) {
  constexpr size_t kCuts = 16;
  std::vector<std::string> copies;
  copies.reserve(kCuts + flips);
  for (size_t part = 0; part < kCuts; ++part)
    copies.emplace_back(file.substr(0, file.size() * part / kCuts));
  std::mt19937 random(seed);
  for (int i = 0; i < flips; ++i) {
    std::string copy(file);
    for (int left = 1 + static_cast<int>(random() % 8); left > 0; --left) {
      copy[random() % copy.size()] = static_cast<char>(random());
    }
    copies.push_back(copy);
  }
  return copies;
}

std::string MakePng(uint32_t width, uint32_t height, char color_type,
                    absl::string_view compressed) {
  const char form[] = {8, color_type, 0, 0, 0};  // bits, colour, and no interlacing
  const std::string header =
      absl::StrCat(BigEndian(width), BigEndian(height), absl::string_view(form, sizeof(form)));
  return absl::StrCat("\x89PNG\r\n\x1a\n", PngChunk("IHDR", header), PngChunk("IDAT", compressed),
                      PngChunk("IEND", ""));
}

std::string AddPngChunk(absl::string_view file, absl::string_view type, absl::string_view data) {
  return absl::StrCat(file.substr(0, kPngHeaderEnd), PngChunk(type, data),
                      file.substr(kPngHeaderEnd));
}

std::string CompressedZeros(int64_t bytes) {
  z_stream stream = {};
  CHECK_EQ(deflateInit(&stream, Z_BEST_COMPRESSION), Z_OK);
  std::string out;
  std::vector<Bytef> zeros(1 << 20);
  std::vector<Bytef> buffer(1 << 16);
  while (stream.total_in < static_cast<uint64_t>(bytes) || stream.avail_in > 0) {
    if (stream.avail_in == 0) {
      stream.next_in = zeros.data();
      stream.avail_in = static_cast<uInt>(std::min<int64_t>(
          static_cast<int64_t>(zeros.size()), bytes - static_cast<int64_t>(stream.total_in)));
    }
    stream.next_out = buffer.data();
    stream.avail_out = static_cast<uInt>(buffer.size());
    CHECK_EQ(deflate(&stream, Z_NO_FLUSH), Z_OK);
    out.append(reinterpret_cast<char*>(buffer.data()), buffer.size() - stream.avail_out);
  }
  int result = Z_OK;
  while (result == Z_OK) {
    stream.next_out = buffer.data();
    stream.avail_out = static_cast<uInt>(buffer.size());
    result = deflate(&stream, Z_FINISH);
    out.append(reinterpret_cast<char*>(buffer.data()), buffer.size() - stream.avail_out);
  }
  CHECK_EQ(result, Z_STREAM_END);
  deflateEnd(&stream);
  return out;
}

}  // namespace facet::testing
