#ifndef FACET_ROUTER_API_MODEL_NAME_H_
#define FACET_ROUTER_API_MODEL_NAME_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "router/text/served_model.h"

namespace facet {

// What clients call a model: "facet-nano" alone, or "facet-nano:pirate" with the LoRA adapter
// `pirate`.

// The adapter that `name` asks for; empty: none. NOT_FOUND, in OpenAI's form, if it asks for
// another model than the one that is served; whether that adapter is there is the pool's to know.
absl::StatusOr<std::string> AdapterOfModelName(const ServedModel& model, const std::string& name);

// "facet-nano:pirate"; the model's own name where `adapter` is empty.
std::string NameWithAdapter(const ServedModel& model, absl::string_view adapter);

// The NOT_FOUND of a name.
absl::Status ModelNotFound(const ServedModel& model, absl::string_view name);

}  // namespace facet

#endif  // FACET_ROUTER_API_MODEL_NAME_H_
