#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <type_traits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "model/model_file.h"
#include "ops/cli/command.h"

namespace facet {
namespace {

constexpr size_t kTextShown = 60;
constexpr size_t kElementsShown = 8;

std::string Show(const std::string& text) {
  std::string shown = absl::CHexEscape(text.substr(0, kTextShown));
  return text.size() > kTextShown ? absl::StrCat(shown, "... (", text.size(), " bytes)") : shown;
}
std::string Show(bool value) { return value ? "true" : "false"; }
template <typename T>
std::string Show(T number) {
  std::ostringstream text;
  text << +number;
  return text.str();
}
template <typename T>
std::string Show(const std::vector<T>& values) {
  std::vector<std::string> shown;
  for (size_t i = 0; i < values.size() && i < kElementsShown; ++i) {
    shown.push_back(Show(static_cast<T>(values[i])));
  }
  if (values.size() > kElementsShown) shown.push_back("...");
  return absl::StrCat("[", absl::StrJoin(shown, ", "), "] (", values.size(), ")");
}

absl::Status Run(const std::vector<absl::string_view>& arguments) {
  if (arguments.size() != 1) return absl::InvalidArgumentError("name one file or folder");
  ASSIGN_OR_RETURN(const auto file, ModelFile::Open(std::string(arguments[0])));
  for (const auto& [key, value] : file->metadata().values()) {
    std::cout << key << " = " << std::visit([](const auto& typed) { return Show(typed); }, value)
              << "\n";
  }
  std::map<absl::string_view, std::pair<int, int64_t>> types;
  int64_t total = 0, parameters = 0;
  for (const Tensor& tensor : file->tensors()) {
    std::cout << absl::StreamFormat("%-40s %-7s [%s]\n", tensor.name, InfoOf(tensor.type).name,
                                    absl::StrJoin(tensor.shape, ", "));
    auto& [count, bytes] = types[InfoOf(tensor.type).name];
    ++count;
    bytes += static_cast<int64_t>(tensor.data.size());
    total += static_cast<int64_t>(tensor.data.size());
    int64_t elements = 1;
    for (const int64_t axis : tensor.shape) elements *= axis;
    parameters += elements;
  }
  std::cout << file->tensors().size() << " tensors, " << parameters << " parameters, " << total
            << " bytes:\n";
  for (const auto& [name, sums] : types) {
    std::cout << absl::StreamFormat("  %-7s %4d tensors %15d bytes\n", name, sums.first,
                                    sums.second);
  }
  return absl::OkStatus();
}

}  // namespace

const Command kInspectCommand = {
    "inspect", "what a model file holds",
    "facet inspect PATH: metadata, tensors and sizes of a GGUF file or a model folder.\n\n"
    "  facet inspect facet-nano.gguf",
    Run};

}  // namespace facet
