#ifndef FACET_BASE_SHA256_H_
#define FACET_BASE_SHA256_H_

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"

namespace facet {

inline constexpr int kSha256Bytes = 32;

// SHA-256 over the parts, one behind the other.
std::string Sha256(std::initializer_list<absl::string_view> parts);

// The same as numbers, for keys that are made by the thousand: no memory is taken.
std::array<uint8_t, kSha256Bytes> Sha256Of(absl::string_view bytes);

}  // namespace facet

#endif  // FACET_BASE_SHA256_H_
