// The type of a form, up to the first line break, and its body: an error that says why, or fields
// that lie within the body.

#include "router/api/multipart.h"

#include "base/check.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input = facet::AsText(data, size);
  const size_t end = input.find('\n');
  if (end == input.npos) return 0;
  const absl::string_view body = input.substr(end + 1);
  const auto fields = facet::ParseMultipart(input.substr(0, end), body);
  if (!fields.ok()) {
    CHECK(!fields.status().message().empty());
    return 0;
  }
  CHECK_LE(fields->size(), 32u);
  for (const facet::FormField& field : *fields) {
    CHECK(!field.name.empty());
    CHECK(facet::LiesWithin(field.value, body));
    CHECK_LE(field.name.size() + field.filename.size(), size);
  }
  return 0;
}
