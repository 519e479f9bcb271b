#include "model/testing/random_adapter.h"

#include <cstring>
#include <deque>
#include <optional>
#include <random>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/adapter.h"
#include "model/safetensors_writer.h"
#include "model/testing/files.h"

namespace facet::testing {
namespace {

// Of standard deviation 0.2; rounded towards zero where they are BF16.
std::string RandomValues(std::mt19937& random, int64_t count, bool bf16) {
  std::normal_distribution<float> normal(0, 0.2f);
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) {
    const float value = normal(random);
    char coded[sizeof(value)];
    std::memcpy(coded, &value, sizeof(value));
    bytes.append(coded + (bf16 ? 2 : 0), bf16 ? 2 : 4);
  }
  return bytes;
}

}  // namespace

std::string WriteRandomAdapter(const std::string& name, const TextConfig& base, int rank,
                               uint32_t seed, bool whole) {
  std::mt19937 random(seed);
  std::deque<std::string> data;
  std::vector<SafetensorsTensor> tensors;
  for (int layer = 0; layer < static_cast<int>(base.layers.size()); ++layer) {
    for (int i = 0; i < kAdapterMatrices; ++i) {
      const auto matrix = static_cast<AdapterMatrix>(i);
      const std::optional<AdapterShape> shape = ShapeOf(base, layer, matrix);
      if (!shape || (!whole && random() % 4 == 0)) continue;
      const bool bf16 = whole || random() % 2 == 0;
      const std::string path =
          absl::StrCat("base_model.model.model.layers.", layer, ".", PeftNameOf(matrix));
      for (const auto& [half, rows, columns] :
           {std::tuple(".lora_A.weight", int64_t{rank}, shape->inputs),
            std::tuple(".lora_B.weight", shape->outputs, int64_t{rank})}) {
        data.push_back(RandomValues(random, rows * columns, bf16));
        tensors.push_back({path + half, bf16 ? "BF16" : "F32", {rows, columns}, data.back()});
      }
    }
  }
  const std::string folder = EmptyFolder(name);
  WriteFile(folder + "/adapter_config.json",
            absl::StrCat(R"({"peft_type":"LORA","r":)", rank, R"(,"lora_alpha":)", rank, "}"));
  WriteFile(folder + "/adapter_model.safetensors", SafetensorsFile(tensors));
  return folder;
}

}  // namespace facet::testing
