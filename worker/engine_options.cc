#include "worker/engine_options.h"

#include <algorithm>

namespace facet {

EngineOptions EngineOptionsFor(const LoadedModel& model) {
  EngineOptions options;
  options.running_requests_max = model.running_requests_max;
  options.step_tokens_max = model.step_tokens_max;
  options.vocab_size = model.config().vocab_size;
  options.context_tokens_max = model.cache->plan().context_tokens_max;
  options.sliding_window_tokens = model.config().sliding_window_tokens;
  if (model.embedder != nullptr) options.media = model.embedder->limits();
  // An image goes in one step, beside what decodes.
  options.media.image_tokens_max =
      std::min(options.media.image_tokens_max,
               model.runner->options().rows_max - model.runner->options().output_rows_max);
  if (model.vocabulary != nullptr) options.suppressed_ids = model.vocabulary->suppressed_ids();
  return options;
}

EngineParts PartsOf(const LoadedModel& model) {
  return {model.runner.get(),    model.cache.get(),     model.drafter.get(),
          model.host_tier.get(), model.disk_tier.get(), /*grammar_compiler=*/nullptr,
          model.adapters.get()};
}

}  // namespace facet
