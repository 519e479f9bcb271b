// An adapter_config.json: a config that is taken has a rank within its bounds and a finite scale.

#include "model/adapter_config.h"

#include <cmath>

#include "base/check.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = facet::ParseAdapterConfig(facet::AsText(data, size));
  if (!config.ok()) {
    CHECK(!config.status().message().empty());
    return 0;
  }
  CHECK(config->rank >= 1 && config->rank <= facet::kAdapterRankMax) << config->rank;
  CHECK(std::isfinite(config->scale));
  return 0;
}
