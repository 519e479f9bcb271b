// The JSON of a chat request: an error, or a prompt that begins with <bos> and is not out of
// proportion.

#include "model/chat_template.h"

#include <boost/json.hpp>

#include "absl/strings/match.h"
#include "base/check.h"
#include "model/json.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto request = facet::ParseJson(facet::AsText(data, size), "request");
  if (!request.ok() || !request->is_object()) return 0;
  const auto prompt = facet::RenderChat(request->get_object());
  if (!prompt.ok()) {
    CHECK(!prompt.status().message().empty());
    return 0;
  }
  CHECK(absl::StartsWith(*prompt, "<bos>")) << *prompt;
  // A tool {"function":{"name":"f"}} of some 24 bytes becomes a declaration of some 100.
  CHECK_LE(prompt->size(), 64 * size + 1024);
  return 0;
}
