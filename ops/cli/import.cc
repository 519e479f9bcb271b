#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/dequantize.h"
#include "kernels/quantize.h"
#include "model/gguf_writer.h"
#include "model/model_file.h"
#include "ops/cli/command.h"
#include "ops/cli/progress.h"

ABSL_FLAG(std::string, quantize, "", "Type of the matrices: F32, F16, BF16, Q8_0, Q4_0, Q4_K.");
ABSL_FLAG(std::string, name, "", "Name to put into the file (general.name).");

namespace facet {
namespace {

// Vectors stay exact; so does a matrix whose rows are no whole blocks of the type asked for.
TensorType TargetType(const Tensor& tensor, TensorType asked) {
  if (tensor.shape.size() < 2) return TensorType::kF32;
  if (tensor.shape[0] % InfoOf(asked).block_elements != 0) return TensorType::kF32;
  // The embedding is also the head, where errors cost most: as llama.cpp does, six bits.
  if (tensor.name == "token_embd.weight" &&
      (asked == TensorType::kQ4_0 || asked == TensorType::kQ4_K) &&
      tensor.shape[0] % InfoOf(TensorType::kQ6_K).block_elements == 0) {
    return TensorType::kQ6_K;
  }
  return asked;
}

absl::StatusOr<std::string> Convert(const Tensor& tensor, TensorType target) {
  if (tensor.type == target) return std::string(tensor.data);
  int64_t elements = 1;
  for (const int64_t axis : tensor.shape) elements *= axis;
  std::vector<float> values(elements);
  Dequantize(tensor.type, tensor.data.data(), elements, values.data());
  absl::StatusOr<std::string> blocks = Quantize(target, values);
  if (!blocks.ok()) {
    return absl::Status(blocks.status().code(),
                        absl::StrCat("tensor '", tensor.name, "': ", blocks.status().message()));
  }
  return blocks;
}

absl::Status Run(const std::vector<absl::string_view>& arguments) {
  if (arguments.size() != 2) return absl::InvalidArgumentError("name a source and a target");
  const std::string source(arguments[0]), target(arguments[1]);
  ASSIGN_OR_RETURN(const std::unique_ptr<ModelFile> file, ModelFile::Open(source));
  const bool requantize = !absl::GetFlag(FLAGS_quantize).empty();
  TensorType asked = TensorType::kF32;
  if (requantize) {
    ASSIGN_OR_RETURN(asked, TensorTypeFromName(absl::GetFlag(FLAGS_quantize)));
    if (!CanQuantize(asked)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--quantize=", absl::GetFlag(FLAGS_quantize), " cannot be written"));
    }
  }
  Metadata metadata = file->metadata();
  if (!absl::GetFlag(FLAGS_name).empty()) metadata.Set("general.name", absl::GetFlag(FLAGS_name));
  metadata.Set("general.quantization_version", uint32_t{2});
  std::vector<GgufTensorSource> tensors;
  for (const Tensor& tensor : file->tensors()) {
    const TensorType type = requantize ? TargetType(tensor, asked) : tensor.type;
    tensors.push_back(
        {tensor.name, type, tensor.shape, [&tensor, type] { return Convert(tensor, type); }});
  }
  Progress progress(absl::StrCat("writing ", target));
  return WriteGgufFile(target, metadata, tensors,
                       [&](uint64_t done, uint64_t total) { progress.Show(done, total); });
}

}  // namespace

const Command kImportCommand = {
    "import", "a Hugging Face folder or a GGUF file to a GGUF file",
    "facet import SOURCE TARGET.gguf [--quantize=TYPE] [--name=NAME]: SOURCE is a folder with\n"
    "config.json, tokenizer.json and safetensors, or a GGUF file. With --quantize the matrices\n"
    "become F32, F16, BF16, Q8_0, Q4_0 or Q4_K (the embedding Q6_K beside the 4-bit types);\n"
    "without, each keeps its type.\n\n"
    "  facet import ./gemma-4-12b-it gemma-4-12b-it-Q4_K.gguf --quantize=Q4_K",
    Run};

}  // namespace facet
