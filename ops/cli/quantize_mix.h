#ifndef FACET_OPS_CLI_QUANTIZE_MIX_H_
#define FACET_OPS_CLI_QUANTIZE_MIX_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/tensor_type.h"
#include "model/model_file.h"

namespace facet {

// Which type each tensor gets under a name such as Q4_K_M: what llama.cpp's quantiser does, so that
// our files have the types of published ones. The mix is of two types, or more where errors cost
// most: in the embedding, which is also the head, in some layers' values and down projections.
struct QuantizeMix {
  absl::string_view name;
  uint32_t file_type;  // general.file_type
  TensorType base;     // of matrices
  TensorType embedding;
  // Of attn_v and ffn_down in the first and last eighth of the layers and every third between.
  TensorType more;
  // Of attn_v in the first four layers that have one and of ffn_down in the first eighth.
  TensorType first;
};

// INVALID_ARGUMENT lists the names there are.
absl::StatusOr<QuantizeMix> QuantizeMixFromName(absl::string_view name);

// The type of each of `tensors`, in their order. Vectors are F32; so are the tensors of pictures
// and sounds, but for their projections, which have 16 bits at least. Where a row is no whole
// number of blocks, Q8_0 stands in, or F32.
std::vector<TensorType> TypesOf(const QuantizeMix& mix, absl::Span<const Tensor> tensors);

}  // namespace facet

#endif  // FACET_OPS_CLI_QUANTIZE_MIX_H_
