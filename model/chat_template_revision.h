#ifndef FACET_MODEL_CHAT_TEMPLATE_REVISION_H_
#define FACET_MODEL_CHAT_TEMPLATE_REVISION_H_

#include "absl/strings/string_view.h"

namespace facet {

// Whether a model file's Jinja template is one whose rules chat_template.h is known to follow, by
// its SHA-256. Another is served by the same rules, with a warning.
bool IsKnownChatTemplate(absl::string_view jinja);

}  // namespace facet

#endif  // FACET_MODEL_CHAT_TEMPLATE_REVISION_H_
