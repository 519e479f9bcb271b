#ifndef FACET_ROUTER_API_MULTIPART_H_
#define FACET_ROUTER_API_MULTIPART_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// One field of a form as browsers and libraries send it.
struct FormField {
  std::string name;
  std::string filename;  // Empty: it is no file.
  absl::string_view value;
};

// The fields of a body of type multipart/form-data (RFC 7578), in order; `value` points into
// `body`. Strict and bounded: INVALID_ARGUMENT for another type, a boundary that is missing or not
// allowed, a body that does not begin and end with it, more than 32 fields, a header of more than
// 8 KiB, a field without a name, an encoding other than plain bytes. A pure function.
absl::StatusOr<std::vector<FormField>> ParseMultipart(absl::string_view content_type,
                                                      absl::string_view body);

}  // namespace facet

#endif  // FACET_ROUTER_API_MULTIPART_H_
