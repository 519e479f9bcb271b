// The JSON of a chat request: an error that names a field, or parts of which each has a file or an
// address, and a placeholder for each in the body.

#include "router/media/media_parts.h"

#include <boost/json.hpp>

#include "base/check.h"
#include "base/http_url.h"
#include "model/json.h"
#include "router/api/api_error.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto request = facet::ParseJson(facet::AsText(data, size), "request");
  if (!request.ok() || !request->is_object()) return 0;
  for (const auto take : {facet::TakeMediaParts, facet::TakeMediaList}) {
    boost::json::object body = request->get_object();
    const auto parts = take(body);
    if (!parts.ok()) {
      CHECK(!facet::ParamOf(parts.status()).empty()) << parts.status();
      continue;
    }
    for (const facet::MediaPart& part : *parts) {
      CHECK(!part.param.empty());
      CHECK(part.base64.empty() != part.url.empty());
      CHECK_LE(part.base64.size() + part.url.size(), size);
      const auto url = facet::ParseHttpsUrl(part.url);
      if (!url.ok()) continue;
      CHECK(!url->host.empty() && url->target[0] == '/');
    }
    // What was taken is not there a second time.
    const auto again = facet::TakeMediaParts(body);
    CHECK(take != facet::TakeMediaParts || (again.ok() && again->empty()));
  }
  return 0;
}
