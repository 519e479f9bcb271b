#ifndef FACET_MODEL_HUGGINGFACE_MEDIA_H_
#define FACET_MODEL_HUGGINGFACE_MEDIA_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/model_file.h"
#include "model/safetensors.h"

namespace facet {

// The tensors that turn patches and frames into embeddings: what llama.cpp keeps in a projector
// file ("mmproj"), under its names and in its order of elements.

bool IsHuggingFaceMediaTensor(absl::string_view name);

// Adds one of them to `file`. Where llama.cpp stores a patch colour by colour and transformers
// pixel by pixel, the elements are put in llama.cpp's order, in a copy that the file owns.
// INVALID_ARGUMENT names `path` and the tensor that is unknown or of a wrong shape.
absl::Status AddHuggingFaceMediaTensor(const SafetensorsTensor& tensor, const std::string& path,
                                       ModelFile& file);

}  // namespace facet

#endif  // FACET_MODEL_HUGGINGFACE_MEDIA_H_
