// A config.json in a folder with an empty model.safetensors: opening the folder ends in a status,
// and a config that is taken has as many layers as it says.

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/check.h"
#include "model/config.h"
#include "model/model_file.h"
#include "tests/fuzz/fuzz_target.h"

namespace facet {

// A folder of this process, gone when it ends. In memory where there is such a place.
class Folder {
 public:
  Folder() {
    const char* test_folder = std::getenv("TEST_TMPDIR");
    const std::string root = test_folder != nullptr                      ? test_folder
                             : std::filesystem::is_directory("/dev/shm") ? "/dev/shm"
                                                                         : "/tmp";
    path_ = root + "/facet_fuzz_config_json." + std::to_string(getpid());
    std::filesystem::create_directories(path_);
    Write("model.safetensors", std::string("\x02\0\0\0\0\0\0\0{}", 10));
  }
  ~Folder() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }
  void Write(const std::string& name, absl::string_view bytes) const {
    std::ofstream file(path_ + "/" + name, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    CHECK(file.flush().good());
  }

 private:
  std::string path_;
};

}  // namespace facet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const facet::Folder folder;
  folder.Write("config.json", facet::AsText(data, size));
  const auto file = facet::ModelFile::Open(folder.path());
  if (!file.ok()) {
    CHECK(!file.status().message().empty());
    return 0;
  }
  // All tensors but the rope divisors are missing.
  CHECK_EQ((*file)->tensors().size(), 1U);
  CHECK_EQ(facet::ModelDigest(**file).size(), 32U);
  const auto config = facet::ReadTextConfig((*file)->metadata());
  if (!config.ok()) return 0;
  const auto layers = (*file)->metadata().GetInt("gemma4.block_count");
  CHECK_OK(layers);
  CHECK_EQ(static_cast<int64_t>(config->layers.size()), *layers);
  return 0;
}
