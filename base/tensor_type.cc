#include "base/tensor_type.h"

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"

namespace facet {
namespace {

constexpr TensorTypeInfo kTypes[] = {
    {TensorType::kF32, "F32", 1, 4},         {TensorType::kF16, "F16", 1, 2},
    {TensorType::kQ4_0, "Q4_0", 32, 18},     {TensorType::kQ4_1, "Q4_1", 32, 20},
    {TensorType::kQ5_0, "Q5_0", 32, 22},     {TensorType::kQ5_1, "Q5_1", 32, 24},
    {TensorType::kQ8_0, "Q8_0", 32, 34},     {TensorType::kQ2_K, "Q2_K", 256, 84},
    {TensorType::kQ3_K, "Q3_K", 256, 110},   {TensorType::kQ4_K, "Q4_K", 256, 144},
    {TensorType::kQ5_K, "Q5_K", 256, 176},   {TensorType::kQ6_K, "Q6_K", 256, 210},
    {TensorType::kIQ4_NL, "IQ4_NL", 32, 18}, {TensorType::kIQ4_XS, "IQ4_XS", 256, 136},
    {TensorType::kBF16, "BF16", 1, 2},
};

}  // namespace

absl::StatusOr<TensorType> TensorTypeFromId(uint32_t id) {
  for (const TensorTypeInfo& info : kTypes) {
    if (static_cast<uint32_t>(info.type) == id) return info.type;
  }
  return absl::InvalidArgumentError(absl::StrCat("tensor type ", id, " is not known"));
}

absl::StatusOr<TensorType> TensorTypeFromName(absl::string_view name) {
  std::vector<absl::string_view> names;
  for (const TensorTypeInfo& info : kTypes) {
    if (absl::EqualsIgnoreCase(info.name, name)) return info.type;
    names.push_back(info.name);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "tensor type '", name, "' is not known; there are ", absl::StrJoin(names, ", ")));
}

const TensorTypeInfo& InfoOf(TensorType type) {
  for (const TensorTypeInfo& info : kTypes) {
    if (info.type == type) return info;
  }
  CHECK(false) << "tensor type " << static_cast<uint32_t>(type);
  return kTypes[0];
}

int64_t RowBytes(TensorType type, int64_t elements) {
  const TensorTypeInfo& info = InfoOf(type);
  CHECK_EQ(elements % info.block_elements, 0);
  return elements / info.block_elements * info.block_bytes;
}

}  // namespace facet
