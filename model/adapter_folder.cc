#include "model/adapter_folder.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace facet {
namespace {

constexpr size_t kNameBytesMax = 128;

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
}

}  // namespace

absl::Status CheckAdapterName(absl::string_view name) {
  if (!name.empty() && name.size() <= kNameBytesMax && name[0] != '.' &&
      absl::c_all_of(name, IsNameCharacter)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "name '", absl::CHexEscape(name.substr(0, kNameBytesMax)), "' is not 1 to ", kNameBytesMax,
      " letters, digits, '.', '_' and '-', beginning with none of the dots"));
}

absl::StatusOr<std::vector<AdapterPath>> ListAdapters(const std::string& folder) {
  std::error_code error;
  std::vector<AdapterPath> adapters;
  std::filesystem::directory_iterator entries(folder, error), end;
  for (; !error && entries != end; entries.increment(error)) {
    const std::string file = entries->path().filename().string();
    absl::string_view name = file;
    std::error_code ignored;
    const bool is_gguf = absl::ConsumeSuffix(&name, ".gguf");
    const bool is_peft =
        !is_gguf && std::filesystem::exists(entries->path() / "adapter_config.json", ignored);
    if ((!is_gguf && !is_peft) || !CheckAdapterName(name).ok()) continue;
    adapters.push_back({std::string(name), entries->path().string()});
  }
  if (error) {
    const std::string what = absl::StrCat(folder, ": ", error.message());
    if (error == std::errc::no_such_file_or_directory) return absl::NotFoundError(what);
    return absl::UnavailableError(what);
  }
  std::sort(adapters.begin(), adapters.end(), [](const AdapterPath& a, const AdapterPath& b) {
    return a.name != b.name ? a.name < b.name : a.path < b.path;
  });
  adapters.erase(std::unique(adapters.begin(), adapters.end(),
                             [](const auto& a, const auto& b) { return a.name == b.name; }),
                 adapters.end());
  return adapters;
}

}  // namespace facet
