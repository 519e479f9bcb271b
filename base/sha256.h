#ifndef FACET_BASE_SHA256_H_
#define FACET_BASE_SHA256_H_

#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"

namespace facet {

inline constexpr int kSha256Bytes = 32;

// SHA-256 over the parts, one behind the other.
std::string Sha256(std::initializer_list<absl::string_view> parts);

}  // namespace facet

#endif  // FACET_BASE_SHA256_H_
