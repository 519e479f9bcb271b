#include "model/testing/random_adapter.h"

#include <cstring>
#include <deque>
#include <random>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
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
                               uint32_t seed) {
  std::mt19937 random(seed);
  std::deque<std::string> data;
  std::vector<SafetensorsTensor> tensors;
  const auto add = [&](int layer, const char* module, int64_t inputs, int64_t outputs) {
    if (random() % 4 == 0) return;
    const bool bf16 = random() % 2 == 0;
    const std::string path = absl::StrCat("base_model.model.model.layers.", layer, ".", module);
    for (const auto& [half, rows, columns] :
         {std::tuple(".lora_A.weight", int64_t{rank}, inputs),
          std::tuple(".lora_B.weight", outputs, int64_t{rank})}) {
      data.push_back(RandomValues(random, rows * columns, bf16));
      tensors.push_back({path + half, bf16 ? "BF16" : "F32", {rows, columns}, data.back()});
    }
  };
  for (int i = 0; i < static_cast<int>(base.layers.size()); ++i) {
    const LayerConfig& layer = base.layers[i];
    const int64_t hidden = base.hidden_size, feed_forward = base.feed_forward_size;
    const int64_t queries = int64_t{base.query_heads} * layer.head_dim;
    const int64_t keys = int64_t{layer.kv_heads} * layer.head_dim;
    add(i, "self_attn.q_proj", hidden, queries);
    add(i, "self_attn.k_proj", hidden, keys);
    if (layer.sliding) add(i, "self_attn.v_proj", hidden, keys);
    add(i, "self_attn.o_proj", queries, hidden);
    add(i, "mlp.gate_proj", hidden, feed_forward);
    add(i, "mlp.up_proj", hidden, feed_forward);
    add(i, "mlp.down_proj", feed_forward, hidden);
  }
  const std::string folder = EmptyFolder(name);
  WriteFile(folder + "/adapter_config.json",
            absl::StrCat(R"({"peft_type":"LORA","r":)", rank, R"(,"lora_alpha":)", rank, "}"));
  WriteFile(folder + "/adapter_model.safetensors", SafetensorsFile(tensors));
  return folder;
}

}  // namespace facet::testing
