#include "ops/cli/quantize_mix.h"

#include <algorithm>
#include <map>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace facet {
namespace {

constexpr auto kF32 = TensorType::kF32, kF16 = TensorType::kF16, kBF16 = TensorType::kBF16,
               kQ8_0 = TensorType::kQ8_0, kQ4_0 = TensorType::kQ4_0, kQ4_K = TensorType::kQ4_K,
               kQ5_K = TensorType::kQ5_K, kQ6_K = TensorType::kQ6_K;

// File types are llama.cpp's. Name, file type, base, embedding, more, first.
constexpr QuantizeMix kMixes[] = {
    {"F32", 0, kF32, kF32, kF32, kF32},         {"F16", 1, kF16, kF16, kF16, kF16},
    {"BF16", 32, kBF16, kBF16, kBF16, kBF16},   {"Q8_0", 7, kQ8_0, kQ8_0, kQ8_0, kQ8_0},
    {"Q6_K", 18, kQ6_K, kQ6_K, kQ6_K, kQ6_K},   {"Q5_K_M", 17, kQ5_K, kQ6_K, kQ6_K, kQ5_K},
    {"Q5_K_S", 16, kQ5_K, kQ6_K, kQ5_K, kQ5_K}, {"Q4_K_M", 15, kQ4_K, kQ6_K, kQ6_K, kQ4_K},
    {"Q4_K_S", 14, kQ4_K, kQ6_K, kQ4_K, kQ5_K}, {"Q4_0", 2, kQ4_0, kQ6_K, kQ4_0, kQ4_0},
};

// The layer of "blk.LAYER.KIND.weight".
std::optional<int> LayerOf(absl::string_view name, absl::string_view kind) {
  if (!absl::ConsumePrefix(&name, "blk.") ||
      !absl::ConsumeSuffix(&name, absl::StrCat(".", kind, ".weight"))) {
    return std::nullopt;
  }
  int layer;
  if (!absl::SimpleAtoi(name, &layer)) return std::nullopt;
  return layer;
}

// Each layer that has such a tensor, and how many before it do.
std::map<int, int> RanksOf(absl::Span<const Tensor> tensors, absl::string_view kind) {
  std::map<int, int> ranks;
  for (const Tensor& tensor : tensors) {
    if (const auto layer = LayerOf(tensor.name, kind)) ranks[*layer] = 0;
  }
  int rank = 0;
  for (auto& [layer, its_rank] : ranks) its_rank = rank++;
  return ranks;
}

// llama.cpp's rule of which layers get more bits.
bool HasMoreBits(int rank, int count) {
  return rank < count / 8 || rank >= 7 * count / 8 || (rank - count / 8) % 3 == 2;
}

TensorType FitRow(TensorType type, int64_t columns) {
  for (const TensorType candidate : {type, kQ8_0}) {
    if (columns % InfoOf(candidate).block_elements == 0) return candidate;
  }
  return kF32;
}

}  // namespace

absl::StatusOr<QuantizeMix> QuantizeMixFromName(absl::string_view name) {
  // As llama.cpp takes them.
  if (absl::EqualsIgnoreCase(name, "Q4_K")) name = "Q4_K_M";
  if (absl::EqualsIgnoreCase(name, "Q5_K")) name = "Q5_K_M";
  for (const QuantizeMix& mix : kMixes) {
    if (absl::EqualsIgnoreCase(mix.name, name)) return mix;
  }
  const std::string names = absl::StrJoin(
      kMixes, ", ", [](std::string* out, const auto& mix) { absl::StrAppend(out, mix.name); });
  return absl::InvalidArgumentError(
      absl::StrCat("--quantize=", name, " cannot be written; there are ", names));
}

std::vector<TensorType> TypesOf(const QuantizeMix& mix, absl::Span<const Tensor> tensors) {
  const std::map<int, int> values = RanksOf(tensors, "attn_v");
  const std::map<int, int> downs = RanksOf(tensors, "ffn_down");
  const int value_count = static_cast<int>(values.size());
  const int down_count = static_cast<int>(downs.size());
  // A drafter's embedding is read for drafts alone, whose errors cost no quality.
  const bool drafter = std::any_of(tensors.begin(), tensors.end(), [](const Tensor& tensor) {
    return absl::StartsWith(tensor.name, "nextn.");
  });
  const auto type_of = [&](const Tensor& tensor) {
    if (tensor.shape.size() < 2 || absl::StartsWith(tensor.name, "v.")) return kF32;
    if (absl::StartsWith(tensor.name, "mm.")) {
      return InfoOf(mix.base).block_elements == 1 ? mix.base : kBF16;
    }
    if (tensor.name == "token_embd.weight") return drafter ? mix.base : mix.embedding;
    if (const auto layer = LayerOf(tensor.name, "attn_v")) {
      const int rank = values.at(*layer);
      if (HasMoreBits(rank, value_count) && mix.more != mix.base) return mix.more;
      if (rank < 4) return mix.first;
    }
    if (const auto layer = LayerOf(tensor.name, "ffn_down")) {
      const int rank = downs.at(*layer);
      if (HasMoreBits(rank, down_count) && mix.more != mix.base) return mix.more;
      if (rank < down_count / 8) return mix.first;
    }
    return mix.base;
  };
  std::vector<TensorType> types;
  for (const Tensor& tensor : tensors) {
    types.push_back(FitRow(type_of(tensor), tensor.shape.empty() ? 1 : tensor.shape[0]));
  }
  return types;
}

}  // namespace facet
