#include "model/safetensors.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstring>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/json.h"

namespace facet {
namespace {

namespace json = boost::json;

constexpr uint64_t kHeaderBytesMax = 100 << 20;  // the format's own limit is 100 MB
constexpr size_t kDimensionsMax = 8;

struct Dtype {
  absl::string_view name;
  int bytes;
};
constexpr Dtype kDtypes[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8},
                             {"I32", 4}, {"I16", 2}, {"I8", 1},  {"U8", 1},   {"BOOL", 1}};

absl::Status Error(absl::string_view tensor, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("safetensors tensor '", absl::CHexEscape(tensor), "': ", what));
}

absl::StatusOr<int> DtypeBytes(absl::string_view tensor, absl::string_view dtype) {
  for (const Dtype& known : kDtypes) {
    if (known.name == dtype) return known.bytes;
  }
  return Error(tensor, absl::StrCat("dtype '", absl::CHexEscape(dtype), "' is not known"));
}

// The entries of an array of whole numbers >= 0.
absl::StatusOr<std::vector<int64_t>> ReadNumbers(absl::string_view tensor, absl::string_view field,
                                                 const json::object& info) {
  const json::value* value = info.if_contains({field.data(), field.size()});
  if (value == nullptr || !value->is_array()) {
    return Error(tensor, absl::StrCat(field, " is not an array"));
  }
  std::vector<int64_t> numbers;
  for (const json::value& element : value->get_array()) {
    json::error_code error;
    const int64_t number = element.to_number<int64_t>(error);
    if (error || number < 0) return Error(tensor, absl::StrCat(field, " is not whole numbers"));
    numbers.push_back(number);
  }
  return numbers;
}

absl::StatusOr<SafetensorsTensor> ReadTensor(absl::string_view name, const json::value& value,
                                             absl::string_view data) {
  const json::object* info = value.if_object();
  if (info == nullptr) return Error(name, "its entry is not an object");
  SafetensorsTensor tensor;
  tensor.name = std::string(name);
  const json::value* dtype = info->if_contains("dtype");
  if (dtype == nullptr || !dtype->is_string()) return Error(name, "dtype is not a string");
  tensor.dtype = std::string(dtype->get_string());
  ASSIGN_OR_RETURN(const int element_bytes, DtypeBytes(name, tensor.dtype));
  ASSIGN_OR_RETURN(tensor.shape, ReadNumbers(name, "shape", *info));
  if (tensor.shape.size() > kDimensionsMax) return Error(name, "shape has too many axes");
  ASSIGN_OR_RETURN(const std::vector<int64_t> offsets, ReadNumbers(name, "data_offsets", *info));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return Error(name, "data_offsets is not [begin, end]");
  }
  if (static_cast<uint64_t>(offsets[1]) > data.size()) {
    return Error(name, absl::StrCat("data_offsets end at ", offsets[1], ", the file has ",
                                    data.size(), " bytes of data: it is truncated"));
  }
  int64_t bytes = element_bytes;
  for (const int64_t axis : tensor.shape) {
    if (__builtin_mul_overflow(bytes, axis, &bytes)) return Error(name, "shape overflows");
  }
  if (bytes != offsets[1] - offsets[0]) {
    return Error(name, absl::StrCat("shape and dtype need ", bytes, " bytes, data_offsets hold ",
                                    offsets[1] - offsets[0]));
  }
  tensor.data = data.substr(offsets[0], bytes);
  return tensor;
}

// The format leaves no byte of `data` without a tensor and gives none to two. So a name that stands
// twice in the header, of which JSON keeps one, shows as a gap where the other's data are.
absl::Status CheckDataAreCovered(const std::vector<SafetensorsTensor>& tensors,
                                 absl::string_view data) {
  std::vector<const SafetensorsTensor*> ordered;
  for (const SafetensorsTensor& tensor : tensors) {
    if (!tensor.data.empty()) ordered.push_back(&tensor);
  }
  std::sort(ordered.begin(), ordered.end(),
            [](const auto* a, const auto* b) { return a->data.data() < b->data.data(); });
  int64_t covered = 0;
  for (const SafetensorsTensor* tensor : ordered) {
    const int64_t begin = tensor->data.data() - data.data();
    if (begin != covered) {
      return Error(tensor->name, absl::StrCat("data_offsets begin at ", begin,
                                              ", the data before them end at ", covered));
    }
    covered += static_cast<int64_t>(tensor->data.size());
  }
  if (covered != static_cast<int64_t>(data.size())) {
    return absl::InvalidArgumentError(absl::StrCat("safetensors data_offsets end at ", covered,
                                                   ", the file has ", data.size(),
                                                   " bytes of data"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<SafetensorsTensor>> ParseSafetensors(absl::string_view file) {
  uint64_t header_size;
  if (file.size() < sizeof(header_size)) {
    return absl::InvalidArgumentError("safetensors: the file is shorter than its first 8 bytes");
  }
  std::memcpy(&header_size, file.data(), sizeof(header_size));
  file.remove_prefix(sizeof(header_size));
  if (header_size > file.size() || header_size > kHeaderBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("safetensors: a header of ", header_size, " bytes does not fit into the ",
                     file.size(), " bytes that follow (at most ", kHeaderBytesMax, ")"));
  }
  ASSIGN_OR_RETURN(const json::value header,
                   ParseJson(file.substr(0, header_size), "safetensors header"));
  if (!header.is_object()) {
    return absl::InvalidArgumentError("safetensors header: not a JSON object");
  }
  std::vector<SafetensorsTensor> tensors;
  for (const auto& entry : header.get_object()) {
    const absl::string_view name(entry.key().data(), entry.key().size());
    if (name == "__metadata__") continue;
    ASSIGN_OR_RETURN(SafetensorsTensor tensor,
                     ReadTensor(name, entry.value(), file.substr(header_size)));
    tensors.push_back(std::move(tensor));
  }
  RETURN_IF_ERROR(CheckDataAreCovered(tensors, file.substr(header_size)));
  return tensors;
}

absl::StatusOr<std::vector<std::string>> ParseSafetensorsIndex(absl::string_view text) {
  ASSIGN_OR_RETURN(const json::value index, ParseJson(text, "safetensors index"));
  const json::value* map =
      index.is_object() ? index.get_object().if_contains("weight_map") : nullptr;
  if (map == nullptr || !map->is_object()) {
    return absl::InvalidArgumentError("safetensors index: weight_map is not an object");
  }
  std::set<std::string> names;
  for (const auto& entry : map->get_object()) {
    const json::string* name = entry.value().if_string();
    if (name == nullptr || name->empty() || absl::StrContains(std::string(*name), "/")) {
      return absl::InvalidArgumentError(
          absl::StrCat("safetensors index: weight_map['",
                       absl::CHexEscape(absl::string_view(entry.key().data(), entry.key().size())),
                       "'] is not a file name"));
    }
    names.insert(std::string(*name));
  }
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace facet
