#ifndef FACET_ROUTER_API_OPENAPI_H_
#define FACET_ROUTER_API_OPENAPI_H_

#include "absl/strings/string_view.h"

namespace facet {

// What GET /openapi.json answers: openapi.json of this folder, as it was when the router was built.
absl::string_view OpenApiDocument();

}  // namespace facet

#endif  // FACET_ROUTER_API_OPENAPI_H_
