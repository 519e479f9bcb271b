#ifndef FACET_ROUTER_API_FIELD_NAMES_H_
#define FACET_ROUTER_API_FIELD_NAMES_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace facet {

// How the fields of a chat request are called in the request that it was made from, so that an
// error names what the client wrote: "messages[2].content" may be "input[3].content" to it. A plain
// value; for one thread at a time.
class FieldNames {
 public:
  // `chat` and all below it is called `own`. Where several fit, the longest counts.
  void Add(absl::string_view chat, absl::string_view own);

  // The same error with its field renamed, in the message too. Errors that name no field, or one
  // that has the same name in both, are given back as they are.
  absl::Status Rename(const absl::Status& status) const;

 private:
  // Empty if `field` has the same name in both.
  std::string OwnNameOf(absl::string_view field) const;

  std::vector<std::pair<std::string, std::string>> names_;  // chat, own
};

}  // namespace facet

#endif  // FACET_ROUTER_API_FIELD_NAMES_H_
