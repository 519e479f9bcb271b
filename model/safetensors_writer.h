#ifndef FACET_MODEL_SAFETENSORS_WRITER_H_
#define FACET_MODEL_SAFETENSORS_WRITER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/safetensors.h"

namespace facet {

// The bytes of a safetensors file with these tensors, one after the other. REQUIRES: the data of
// each have the size that its dtype and shape ask for, and no two have one name.
std::string SafetensorsFile(const std::vector<SafetensorsTensor>& tensors);

// Writes them to `path`. UNAVAILABLE says what the system said.
absl::Status WriteSafetensorsFile(const std::string& path,
                                  const std::vector<SafetensorsTensor>& tensors);

}  // namespace facet

#endif  // FACET_MODEL_SAFETENSORS_WRITER_H_
