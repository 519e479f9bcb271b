#include "model/testing/files.h"

#include <boost/json.hpp>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/check.h"

namespace facet::testing {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  CHECK(file.good()) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::vector<boost::json::object> ReadJsonLines(const std::string& path) {
  std::istringstream lines(ReadFile(path));
  std::vector<boost::json::object> objects;
  for (std::string line; std::getline(lines, line);) {
    objects.push_back(boost::json::parse(line).as_object());
  }
  CHECK(!objects.empty()) << path;
  return objects;
}

}  // namespace facet::testing
