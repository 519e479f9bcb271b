#include "model/testing/files.h"

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
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

void WriteFile(const std::string& path, absl::string_view bytes) {
  // A new file: some file systems flush one that was truncated and written anew to the disk.
  std::filesystem::remove(path);
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  CHECK(file.flush().good()) << path;
}

std::string EmptyFolder(absl::string_view name) {
  const char* root = std::getenv("TEST_TMPDIR");
  const std::filesystem::path folder =
      std::filesystem::path(root != nullptr ? root : "/tmp") / std::string(name);
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder.string();
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
