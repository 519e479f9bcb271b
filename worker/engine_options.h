#ifndef FACET_WORKER_ENGINE_OPTIONS_H_
#define FACET_WORKER_ENGINE_OPTIONS_H_

#include "worker/engine.h"
#include "worker/loaded_model.h"

namespace facet {

// The options that follow from the model and the sizes it was loaded with; what a caller wants
// otherwise (waiting requests, clock, load) it sets itself.
EngineOptions EngineOptionsFor(const LoadedModel& model);

EngineParts PartsOf(const LoadedModel& model);

}  // namespace facet

#endif  // FACET_WORKER_ENGINE_OPTIONS_H_
