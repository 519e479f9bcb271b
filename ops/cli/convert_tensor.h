#ifndef FACET_OPS_CLI_CONVERT_TENSOR_H_
#define FACET_OPS_CLI_CONVERT_TENSOR_H_

#include <string>

#include "absl/status/statusor.h"
#include "base/tensor_type.h"
#include "model/model_file.h"

namespace facet {

// The bytes of `tensor` coded as `type`: its own bytes where it has that type. Rows are shared out
// among `threads`; beside the result it holds a few megabytes for each. INVALID_ARGUMENT names the
// tensor, and the first value of a row that is not finite.
// REQUIRES: whole blocks in each row, and threads >= 1.
absl::StatusOr<std::string> ConvertTensor(const Tensor& tensor, TensorType type, int threads);

}  // namespace facet

#endif  // FACET_OPS_CLI_CONVERT_TENSOR_H_
