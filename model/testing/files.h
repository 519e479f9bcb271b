#ifndef FACET_MODEL_TESTING_FILES_H_
#define FACET_MODEL_TESTING_FILES_H_

#include <boost/json/fwd.hpp>
#include <string>
#include <vector>

namespace facet::testing {

// The bytes of a file of the source tree, which the test names in its `data`. Crashes without it.
std::string ReadFile(const std::string& path);

// The objects of a file of JSON lines.
std::vector<boost::json::object> ReadJsonLines(const std::string& path);

}  // namespace facet::testing

#endif  // FACET_MODEL_TESTING_FILES_H_
