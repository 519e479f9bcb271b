#include "ops/cli/media_tensors.h"

#include <boost/json.hpp>
#include <cmath>
#include <cstring>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gtest/gtest.h"
#include "model/media/testing/test_media.h"
#include "model/safetensors.h"
#include "ops/cli/input_request.h"

namespace facet {
namespace {

namespace json = boost::json;
using ::facet::testing::ReadGolden;

// The bound of the golden set's README for values in float32.
constexpr float kEmbeddingBound = 1e-3f;

const NamedValues<float>& Find(const MediaTensors& tensors, const std::string& name) {
  for (const auto& entry : tensors.floats) {
    if (entry.name == name) return entry;
  }
  ADD_FAILURE() << "no " << name;
  return tensors.floats.front();
}

// Given every golden picture and sound in one chat, expect the reference's patches, frames,
// positions and embeddings.
TEST(MediaTensorsTest, GoldenEmbeddings) {
  LoadOptions options;
  options.threads = 2;
  options.kv.memory_bytes = 64 << 20;
  options.mmproj = "tests/testdata/golden/mmproj.gguf";
  ASSERT_OK_AND_ASSIGN(LoadedModel model, LoadModel("tests/testdata/golden/model.gguf", options));
  ASSERT_OK_AND_ASSIGN(const auto served, DescribeLocally(model));
  const json::value images = json::parse(ReadGolden("image.json")).at("images");
  const json::value sounds = json::parse(ReadGolden("audio.json")).at("sounds");
  json::array content;
  for (const json::value& image : images.as_array()) {
    const std::string file = ReadGolden(std::string(image.at("file").as_string()));
    content.push_back({{"type", "image_url"},
                       {"image_url",
                        {{"url", absl::StrCat("data:image/png;base64,", absl::Base64Escape(file))},
                         {"max_soft_tokens", image.at("max_soft_tokens")}}}});
  }
  for (const json::value& sound : sounds.as_array()) {
    const std::string file = ReadGolden(std::string(sound.at("file").as_string()));
    content.push_back({{"type", "input_audio"},
                       {"input_audio", {{"data", absl::Base64Escape(file)}, {"format", "wav"}}}});
  }
  const json::object line{{"messages", {{{"role", "user"}, {"content", std::move(content)}}}}};
  ASSERT_OK_AND_ASSIGN(GenerationRequest request, ParseInputRequest(line));
  ASSERT_OK(DecodeMediaOf(request, served->media));
  ASSERT_OK_AND_ASSIGN(const MediaTensors tensors, BlockingEmbed(model, *request.loaded_media));

  int compared = 0;
  for (const char* set : {"image.safetensors", "audio.safetensors"}) {
    const std::string file = ReadGolden(set);
    ASSERT_OK_AND_ASSIGN(const std::vector<SafetensorsTensor> golden, ParseSafetensors(file));
    for (const SafetensorsTensor& expected : golden) {
      const bool embeddings = expected.name.find(".embeddings") != std::string::npos;
      if (!embeddings && expected.name.find(".frames") == std::string::npos) continue;
      const NamedValues<float>& own = Find(tensors, expected.name);
      EXPECT_EQ(own.shape, expected.shape) << expected.name;
      ASSERT_EQ(own.values.size() * sizeof(float), expected.data.size()) << expected.name;
      float worst = 0;
      for (size_t i = 0; i < own.values.size(); ++i) {
        float value;
        std::memcpy(&value, expected.data.data() + i * sizeof(float), sizeof(float));
        worst = std::max(worst, std::abs(own.values[i] - value));
      }
      EXPECT_LE(worst, embeddings ? kEmbeddingBound : 0) << expected.name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 6 + 2 + 2);
  for (size_t i = 0; i < images.as_array().size(); ++i) {
    const json::value& image = images.at(i);
    const auto& patches = Find(tensors, absl::StrCat("image", i, ".patches")).values;
    EXPECT_EQ(testing::Sha256Hex(testing::AsBytes(patches)),
              absl::string_view(image.at("patches_f32_sha256").as_string().c_str()))
        << i;
    if (image.at("positions_xy").is_null()) continue;
    std::vector<int32_t> expected;
    for (const json::value& xy : image.at("positions_xy").as_array()) {
      for (const int k : {0, 1}) expected.push_back(static_cast<int32_t>(xy.at(k).as_int64()));
    }
    EXPECT_EQ(tensors.positions[i].values, expected) << i;
  }
}

}  // namespace
}  // namespace facet
