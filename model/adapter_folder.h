#ifndef FACET_MODEL_ADAPTER_FOLDER_H_
#define FACET_MODEL_ADAPTER_FOLDER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// A folder of adapters: each entry is one, a PEFT folder or a GGUF file or a link to either, and
// gives it its name: "pirate/" and "pirate.gguf" are both `pirate`.
struct AdapterPath {
  std::string name;
  std::string path;
};

// INVALID_ARGUMENT unless `name` has 1 to 128 letters, digits, '.', '_' and '-', no '.' first: it
// stands behind a model's name and is a file's.
absl::Status CheckAdapterName(absl::string_view name);

// Ascending by name; entries that have no adapter's name or form are passed over, and of two with
// one name the second. NOT_FOUND or UNAVAILABLE names the folder that cannot be read.
absl::StatusOr<std::vector<AdapterPath>> ListAdapters(const std::string& folder);

}  // namespace facet

#endif  // FACET_MODEL_ADAPTER_FOLDER_H_
