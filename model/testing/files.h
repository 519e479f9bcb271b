#ifndef FACET_MODEL_TESTING_FILES_H_
#define FACET_MODEL_TESTING_FILES_H_

#include <boost/json/fwd.hpp>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace facet::testing {

// The bytes of a file of the source tree, which the test names in its `data`. Crashes without it.
std::string ReadFile(const std::string& path);

// Writes a file into the test's own temporary folder.
void WriteFile(const std::string& path, absl::string_view bytes);

// An empty folder under the test's temporary folder, whatever an earlier test left there.
std::string EmptyFolder(absl::string_view name);

// The objects of a file of JSON lines.
std::vector<boost::json::object> ReadJsonLines(const std::string& path);

}  // namespace facet::testing

#endif  // FACET_MODEL_TESTING_FILES_H_
