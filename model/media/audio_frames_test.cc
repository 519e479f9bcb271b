#include "model/media/audio_frames.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gtest/gtest.h"
#include "model/json.h"
#include "model/media/audio_decoder.h"
#include "model/media/testing/test_media.h"
#include "model/safetensors.h"

namespace facet {
namespace {

using ::facet::testing::AsBytes;
using ::facet::testing::ReadGolden;

// The sounds of the golden set.
class AudioGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(golden_, ParseJson(ReadGolden("audio.json"), "audio.json"));
  }

  boost::json::value golden_;
};

// Given each sound, expect the reference's frames to the last bit, zeros after the end.
TEST_F(AudioGoldenTest, CutsFramesAsTheReference) {
  const std::string file = ReadGolden("audio.safetensors");
  ASSERT_OK_AND_ASSIGN(const auto tensors, ParseSafetensors(file));
  const boost::json::array& sounds = golden_.at("sounds").as_array();
  ASSERT_FALSE(sounds.empty());
  for (size_t i = 0; i < sounds.size(); ++i) {
    SCOPED_TRACE(sounds[i].at("file").as_string().c_str());
    ASSERT_OK_AND_ASSIGN(const std::vector<float> samples,
                         DecodeAudio(ReadGolden(sounds[i].at("file").as_string().c_str())));
    EXPECT_EQ(samples.size(), sounds[i].at("samples").to_number<size_t>());
    const AudioFrames frames = CutAudioFrames(samples);
    EXPECT_EQ(frames.frames, sounds[i].at("tokens").to_number<int>());
    const std::string name = absl::StrCat("sound", i, ".frames");
    const auto tensor = std::find_if(tensors.begin(), tensors.end(),
                                     [&](const auto& tensor) { return tensor.name == name; });
    ASSERT_NE(tensor, tensors.end());
    EXPECT_EQ(AsBytes(frames.values), tensor->data);
  }
}

// Given lengths around whole frames, expect the reference's number of tokens.
TEST_F(AudioGoldenTest, CountsFramesAsTheReference) {
  for (const boost::json::value& length : golden_.at("lengths").as_array()) {
    const std::vector<float> samples(length.at("samples").to_number<size_t>(), 0.5F);
    const AudioFrames frames = CutAudioFrames(samples);
    EXPECT_EQ(frames.frames, length.at("tokens").to_number<int>());
    EXPECT_EQ(frames.values.size(), size_t{kAudioFrameSamples} * frames.frames);
    EXPECT_EQ(std::count(frames.values.begin(), frames.values.end(), 0.5F),
              static_cast<int64_t>(samples.size()));
  }
  EXPECT_EQ(CutAudioFrames({}).frames, 0);
}

}  // namespace
}  // namespace facet
