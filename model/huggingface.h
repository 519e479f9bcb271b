#ifndef FACET_MODEL_HUGGINGFACE_H_
#define FACET_MODEL_HUGGINGFACE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/metadata.h"
#include "model/model_file.h"

namespace facet {

// Fills `file` from the Hugging Face folder at its path: config.json (of gemma4_unified, of its
// text part alone, or as newer transformers re-save it), tokenizer.json if there is one,
// generation_config.json if there is one, and the text decoder's tensors from model.safetensors or
// the files of model.safetensors.index.json. Tensors get their GGUF names; vision and audio tensors
// are passed over. Errors name the file and the field. A tensor we do not know is an error too, so
// that no weight is lost without a word.
absl::Status ReadHuggingFaceFolder(ModelFile& file);

// The metadata alone; config.json may be missing.
absl::StatusOr<Metadata> ReadHuggingFaceMetadata(const std::string& folder);

}  // namespace facet

#endif  // FACET_MODEL_HUGGINGFACE_H_
