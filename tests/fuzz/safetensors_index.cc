// A model.safetensors.index.json: file names that stay in their folder.

#include <set>

#include "base/check.h"
#include "model/safetensors.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto names = facet::ParseSafetensorsIndex(facet::AsText(data, size));
  if (!names.ok()) return 0;
  const std::set<std::string> unique(names->begin(), names->end());
  CHECK_EQ(unique.size(), names->size());
  for (const std::string& name : *names) {
    CHECK(!name.empty());
    CHECK(name.find('/') == std::string::npos) << name;
  }
  return 0;
}
