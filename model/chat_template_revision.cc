#include "model/chat_template_revision.h"

#include "absl/strings/escaping.h"
#include "base/sha256.h"

namespace facet {
namespace {

constexpr absl::string_view kKnown[] = {
    // gemma-4-12b-it GGUF files of July 2026 (18,924 bytes).
    "845f1ee48e39fc942fe190da9df6a1c5db229e17a96ea08966ad1c9274e73d1b",
    // model/nano/chat_template.jinja, and its first form, for text turns alone.
    "6aad24728639473f4ca8bbebb1e1854ec9389cca146bdc1721f46cec51c4307c",
    "91d8f571dee9cc0766121b9bfeba9da185301a84b6617c66850891de96382826",
};

}  // namespace

bool IsKnownChatTemplate(absl::string_view jinja) {
  const std::string hex = absl::BytesToHexString(Sha256({jinja}));
  for (const absl::string_view known : kKnown) {
    if (hex == known) return true;
  }
  return false;
}

}  // namespace facet
