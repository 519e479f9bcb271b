#ifndef FACET_ROUTER_API_KNOWN_FIELDS_H_
#define FACET_ROUTER_API_KNOWN_FIELDS_H_

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace facet {

// Which fields a request body may have, by the OpenAPI document; others are ignored, which a
// client's author may want to hear of. Safe to use from any thread.
class KnownFields {
 public:
  // REQUIRES: `openapi` is the text of such a document.
  explicit KnownFields(absl::string_view openapi);

  // Those fields of a POST body for `path` that the document does not name and that were not given
  // back before. Empty for a body that is no object, and after the first 256.
  std::vector<std::string> TakeUnknown(const std::string& path, absl::string_view body)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::map<std::string, std::set<std::string>> names_;  // By path.
  absl::Mutex mutex_;
  std::set<std::pair<std::string, std::string>> taken_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace facet

#endif  // FACET_ROUTER_API_KNOWN_FIELDS_H_
