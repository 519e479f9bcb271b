#ifndef FACET_MODEL_TESTING_SAFETENSORS_WRITER_H_
#define FACET_MODEL_TESTING_SAFETENSORS_WRITER_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/safetensors.h"

namespace facet::testing {

// A safetensors file with these tensors, their data one after the other.
std::string WriteSafetensors(const std::vector<SafetensorsTensor>& tensors);

// The same around a header of the caller's, which may lie.
std::string WrapSafetensors(absl::string_view header, absl::string_view data);

}  // namespace facet::testing

#endif  // FACET_MODEL_TESTING_SAFETENSORS_WRITER_H_
