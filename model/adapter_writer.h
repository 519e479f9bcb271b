#ifndef FACET_MODEL_ADAPTER_WRITER_H_
#define FACET_MODEL_ADAPTER_WRITER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/adapter.h"

namespace facet {

// Writes a LoRA adapter as a GGUF file under llama.cpp's names, A and B as they are. `name` becomes
// general.name; empty: none. INVALID_ARGUMENT if the adapter's parts do not share one alpha, as the
// format has one, or it is 0, which readers take for none.
absl::Status WriteAdapterGguf(const AdapterFile& adapter, absl::string_view name,
                              const std::string& path);

}  // namespace facet

#endif  // FACET_MODEL_ADAPTER_WRITER_H_
