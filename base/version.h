#ifndef FACET_BASE_VERSION_H_
#define FACET_BASE_VERSION_H_

namespace facet {

// Of all binaries; semantic versioning.
inline constexpr char kVersion[] = "0.1.0";

}  // namespace facet

#endif  // FACET_BASE_VERSION_H_
