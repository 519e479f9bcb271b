#include "model/adapter.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "model/adapter_config.h"
#include "model/gguf.h"
#include "model/safetensors.h"

namespace facet {
namespace {

// An adapter of all matrices of 48 layers has 672 tensors, whose entries take some 150 KB.
constexpr uint64_t kHeaderBytesMax = 8 << 20;
constexpr int64_t kConfigBytesMax = 1 << 20;

struct MatrixNames {
  AdapterMatrix matrix;
  absl::string_view peft;
  absl::string_view gguf;
};
// By the matrix's value.
constexpr MatrixNames kMatrixNames[kAdapterMatrices] = {
    {AdapterMatrix::kQuery, "self_attn.q_proj", "attn_q.weight"},
    {AdapterMatrix::kKey, "self_attn.k_proj", "attn_k.weight"},
    {AdapterMatrix::kValue, "self_attn.v_proj", "attn_v.weight"},
    {AdapterMatrix::kOutput, "self_attn.o_proj", "attn_output.weight"},
    {AdapterMatrix::kGate, "mlp.gate_proj", "ffn_gate.weight"},
    {AdapterMatrix::kUp, "mlp.up_proj", "ffn_up.weight"},
    {AdapterMatrix::kDown, "mlp.down_proj", "ffn_down.weight"},
};

// A or B of one matrix, as the file has it.
struct Half {
  std::string name;
  TensorType type;
  int64_t rows;
  int64_t columns;
  absl::string_view data;
};

// Which half of which matrix a tensor is.
struct Place {
  int layer;
  AdapterMatrix matrix;
  bool is_a;
};

struct Halves {
  std::optional<Half> a, b;
};
using HalvesByMatrix = std::map<std::pair<int, AdapterMatrix>, Halves>;

absl::Status Refuse(absl::string_view tensor, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("tensor '", absl::CHexEscape(tensor.substr(0, 200)), "' ", what));
}

// Takes "7." off the front.
bool ConsumeLayer(absl::string_view* name, int* layer) {
  const size_t dot = name->find('.');
  if (dot == name->npos || !absl::SimpleAtoi(name->substr(0, dot), layer)) return false;
  name->remove_prefix(dot + 1);
  return true;
}

std::optional<AdapterMatrix> ConsumeMatrix(absl::string_view* name,
                                           absl::string_view MatrixNames::* form) {
  for (const MatrixNames& names : kMatrixNames) {
    if (absl::ConsumePrefix(name, names.*form)) return names.matrix;
  }
  return std::nullopt;
}

// Classes of the whole model say "language_model.", those of the text alone do not; some trainers
// write the adapter's own name, "default", too.
std::optional<Place> PeftPlace(absl::string_view name) {
  Place place;
  if (!absl::ConsumePrefix(&name, "base_model.model.model.")) return std::nullopt;
  absl::ConsumePrefix(&name, "language_model.");
  if (!absl::ConsumePrefix(&name, "layers.") || !ConsumeLayer(&name, &place.layer)) {
    return std::nullopt;
  }
  const std::optional<AdapterMatrix> matrix = ConsumeMatrix(&name, &MatrixNames::peft);
  if (!matrix) return std::nullopt;
  place.matrix = *matrix;
  place.is_a = absl::ConsumePrefix(&name, ".lora_A");
  if (!place.is_a && !absl::ConsumePrefix(&name, ".lora_B")) return std::nullopt;
  absl::ConsumePrefix(&name, ".default");
  if (name != ".weight") return std::nullopt;
  return place;
}

std::optional<Place> GgufPlace(absl::string_view name) {
  Place place;
  if (!absl::ConsumePrefix(&name, "blk.") || !ConsumeLayer(&name, &place.layer)) {
    return std::nullopt;
  }
  const std::optional<AdapterMatrix> matrix = ConsumeMatrix(&name, &MatrixNames::gguf);
  if (!matrix || (name != ".lora_a" && name != ".lora_b")) return std::nullopt;
  place.matrix = *matrix;
  place.is_a = name == ".lora_a";
  return place;
}

// Whether all values have an exponent that is not the one of infinities and NaNs.
template <typename Bits>
bool HasExponentsBelow(absl::string_view data, Bits exponent) {
  for (size_t at = 0; at < data.size(); at += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, data.data() + at, sizeof(bits));
    if ((bits & exponent) == exponent) return false;
  }
  return true;
}

bool AllFinite(TensorType type, absl::string_view data) {
  switch (type) {
    case TensorType::kF32:
      return HasExponentsBelow<uint32_t>(data, 0x7F800000);
    case TensorType::kF16:
      return HasExponentsBelow<uint16_t>(data, 0x7C00);
    default:
      return HasExponentsBelow<uint16_t>(data, 0x7F80);
  }
}

absl::Status AddHalf(const TextConfig& base, const std::optional<Place>& place, Half half,
                     HalvesByMatrix* all) {
  if (!place) return Refuse(half.name, "is not A or B of a projection of a decoder layer");
  const int layers = static_cast<int>(base.layers.size());
  if (place->layer < 0 || place->layer >= layers) {
    return Refuse(half.name, absl::StrCat("is of layer ", place->layer, ", the model has ", layers,
                                          " layers"));
  }
  if (half.type != TensorType::kF32 && half.type != TensorType::kF16 &&
      half.type != TensorType::kBF16) {
    return Refuse(half.name, "is none of F32, F16 and BF16");
  }
  if (!AllFinite(half.type, half.data))
    return Refuse(half.name, "holds a value that is not finite");
  Halves& halves = (*all)[{place->layer, place->matrix}];
  std::optional<Half>& slot = place->is_a ? halves.a : halves.b;
  if (slot) {
    return Refuse(half.name, absl::StrCat("and '", absl::CHexEscape(slot->name),
                                          "' are the same half of one matrix"));
  }
  slot = std::move(half);
  return absl::OkStatus();
}

std::string Shape(const Half& half) {
  return absl::StrCat("[", half.rows, ", ", half.columns, "]");
}

// Checks the two halves against each other and the base model.
absl::StatusOr<AdapterPart> Join(const TextConfig& base, int layer, AdapterMatrix matrix,
                                 const Halves& halves) {
  if (!halves.a || !halves.b) {
    const Half& there = halves.a ? *halves.a : *halves.b;
    return Refuse(there.name, absl::StrCat("has no ", halves.a ? "B" : "A", " beside it"));
  }
  const Half& a = *halves.a;
  const Half& b = *halves.b;
  const std::optional<AdapterShape> shape = ShapeOf(base, layer, matrix);
  if (!shape) {
    return Refuse(a.name,
                  "is of a matrix that the model has not: on full layers the key's "
                  "projection gives the values too");
  }
  if (a.columns != shape->inputs) {
    return Refuse(a.name, absl::StrCat("has shape ", Shape(a), ", the model's matrix has ",
                                       shape->inputs, " inputs"));
  }
  if (b.rows != shape->outputs) {
    return Refuse(b.name, absl::StrCat("has shape ", Shape(b), ", the model's matrix has ",
                                       shape->outputs, " outputs"));
  }
  if (a.rows != b.columns || a.rows < 1 || a.rows > kAdapterRankMax) {
    return Refuse(a.name, absl::StrCat("has shape ", Shape(a), " and its B ", Shape(b),
                                       ", which is no rank in [1, ", kAdapterRankMax, "]"));
  }
  return AdapterPart{
      layer,  matrix, static_cast<int>(a.rows), shape->inputs, shape->outputs, 0, a.type, b.type,
      a.data, b.data};
}

void AppendNumber(std::string& out, uint32_t number) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(number >> shift));
}

// Over all that results depend on. The tensors may be large, so they are hashed where they are.
std::string DigestOf(const std::vector<AdapterPart>& parts) {
  std::string text = "facet adapter";
  for (const AdapterPart& part : parts) {
    uint32_t scale_bits;
    std::memcpy(&scale_bits, &part.scale, sizeof(scale_bits));
    for (const uint32_t number :
         {static_cast<uint32_t>(part.layer), static_cast<uint32_t>(part.matrix),
          static_cast<uint32_t>(part.rank), scale_bits, static_cast<uint32_t>(part.a_type),
          static_cast<uint32_t>(part.b_type)}) {
      AppendNumber(text, number);
    }
    text += Sha256({part.a}) + Sha256({part.b});
  }
  return Sha256({text});
}

// The parts of all matrices in `all`; `scale` of each rank, or why it may not have it.
absl::StatusOr<std::vector<AdapterPart>> JoinAll(
    const TextConfig& base, const HalvesByMatrix& all,
    const std::function<absl::StatusOr<float>(const Half& a)>& scale) {
  if (all.empty()) return absl::InvalidArgumentError("holds no tensor of an adapter");
  std::vector<AdapterPart> parts;
  for (const auto& [place, halves] : all) {
    ASSIGN_OR_RETURN(AdapterPart part, Join(base, place.first, place.second, halves));
    ASSIGN_OR_RETURN(part.scale, scale(*halves.a));
    parts.push_back(part);
  }
  return parts;
}

// The whole of a file, so that nobody changes it under us.
absl::StatusOr<std::string> ReadWhole(const std::string& path, int64_t bytes_max) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": no file"));
  if (info.st_size > bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": has ", info.st_size, " bytes, there is room for ", bytes_max));
  }
  std::string bytes(info.st_size, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (file.gcount() != info.st_size) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read to its end"));
  }
  return bytes;
}

absl::StatusOr<TensorType> TypeOf(const SafetensorsTensor& tensor) {
  if (tensor.dtype == "F32") return TensorType::kF32;
  if (tensor.dtype == "F16") return TensorType::kF16;
  if (tensor.dtype == "BF16") return TensorType::kBF16;
  return Refuse(tensor.name, "is none of F32, F16 and BF16");
}

absl::StatusOr<std::vector<AdapterPart>> ReadPeft(const AdapterConfig& config,
                                                  absl::string_view file, const TextConfig& base) {
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), std::min(file.size(), sizeof(header_bytes)));
  if (header_bytes > kHeaderBytesMax && header_bytes < file.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("has a header of ", header_bytes, " bytes; the most is ", kHeaderBytesMax));
  }
  ASSIGN_OR_RETURN(const std::vector<SafetensorsTensor> tensors, ParseSafetensors(file));
  HalvesByMatrix all;
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.shape.size() != 2) return Refuse(tensor.name, "is no matrix");
    ASSIGN_OR_RETURN(const TensorType type, TypeOf(tensor));
    RETURN_IF_ERROR(AddHalf(base, PeftPlace(tensor.name),
                            {tensor.name, type, tensor.shape[0], tensor.shape[1], tensor.data},
                            &all));
  }
  return JoinAll(base, all, [&](const Half& a) -> absl::StatusOr<float> {
    if (a.rows == config.rank) return config.scale;
    return Refuse(a.name, absl::StrCat("has shape ", Shape(a), ", adapter_config.json says 'r' ",
                                       config.rank));
  });
}

absl::Status CheckGgufKind(const Metadata& metadata) {
  const std::pair<absl::string_view, absl::string_view> wanted[] = {
      {"general.type", "adapter"}, {"general.architecture", "gemma4"}, {"adapter.type", "lora"}};
  for (const auto& [key, value] : wanted) {
    ASSIGN_OR_RETURN(const absl::string_view is, metadata.GetString(key));
    if (is != value) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, " is '", absl::CHexEscape(is.substr(0, 100)), "', not '", value, "'"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<AdapterPart>> ReadGguf(absl::string_view file, const TextConfig& base) {
  ASSIGN_OR_RETURN(GgufHeader header, ParseGguf(file));
  RETURN_IF_ERROR(CheckGgufKind(header.metadata));
  ASSIGN_OR_RETURN(const double alpha, header.metadata.GetFloat("adapter.lora.alpha"));
  if (!std::isfinite(static_cast<float>(alpha))) {
    return absl::InvalidArgumentError("adapter.lora.alpha is not a number");
  }
  HalvesByMatrix all;
  for (GgufTensorInfo& info : header.tensors) {
    if (info.shape.size() != 2) return Refuse(info.name, "is no matrix");
    const std::optional<Place> place = GgufPlace(info.name);
    RETURN_IF_ERROR(AddHalf(base, place,
                            {std::move(info.name), info.type, info.shape[1], info.shape[0],
                             file.substr(info.offset, info.size_bytes)},
                            &all));
  }
  // llama.cpp takes an alpha of zero for a scale of one.
  return JoinAll(base, all, [&](const Half& a) -> absl::StatusOr<float> {
    return alpha == 0 ? 1.0f : static_cast<float>(alpha / static_cast<double>(a.rows));
  });
}

// A key or tensor that is missing makes the file a wrong one, not a missing one.
absl::Status WrongIn(const std::string& path, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", status.message()));
}

}  // namespace

absl::string_view PeftNameOf(AdapterMatrix matrix) {
  return kMatrixNames[static_cast<int>(matrix)].peft;
}

absl::string_view GgufNameOf(AdapterMatrix matrix) {
  return kMatrixNames[static_cast<int>(matrix)].gguf;
}

std::optional<AdapterShape> ShapeOf(const TextConfig& base, int layer, AdapterMatrix matrix) {
  const LayerConfig& config = base.layers[layer];
  const int64_t hidden = base.hidden_size, feed_forward = base.feed_forward_size;
  const int64_t queries = int64_t{base.query_heads} * config.head_dim;
  const int64_t keys = int64_t{config.kv_heads} * config.head_dim;
  switch (matrix) {
    case AdapterMatrix::kQuery:
      return AdapterShape{hidden, queries};
    case AdapterMatrix::kKey:
      return AdapterShape{hidden, keys};
    case AdapterMatrix::kValue:
      if (!config.sliding) return std::nullopt;
      return AdapterShape{hidden, keys};
    case AdapterMatrix::kOutput:
      return AdapterShape{queries, hidden};
    case AdapterMatrix::kGate:
    case AdapterMatrix::kUp:
      return AdapterShape{hidden, feed_forward};
    case AdapterMatrix::kDown:
      return AdapterShape{feed_forward, hidden};
  }
  return std::nullopt;
}

absl::StatusOr<std::unique_ptr<AdapterFile>> AdapterFile::Open(const std::string& path,
                                                               const TextConfig& base,
                                                               int64_t bytes_max) {
  auto file = std::unique_ptr<AdapterFile>(new AdapterFile());
  struct stat info;
  const bool folder = stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
  const std::string tensors = folder ? absl::StrCat(path, "/adapter_model.safetensors") : path;
  AdapterConfig config;
  if (folder) {
    ASSIGN_OR_RETURN(const std::string text,
                     ReadWhole(absl::StrCat(path, "/adapter_config.json"), kConfigBytesMax));
    absl::StatusOr<AdapterConfig> parsed = ParseAdapterConfig(text);
    if (!parsed.ok()) return WrongIn(path, parsed.status());
    config = *parsed;
  }
  ASSIGN_OR_RETURN(file->bytes_, ReadWhole(tensors, bytes_max));
  absl::StatusOr<std::vector<AdapterPart>> parts =
      folder ? ReadPeft(config, file->bytes_, base) : ReadGguf(file->bytes_, base);
  if (!parts.ok()) return WrongIn(tensors, parts.status());
  file->parts_ = *std::move(parts);
  file->digest_ = DigestOf(file->parts_);
  return file;
}

}  // namespace facet
