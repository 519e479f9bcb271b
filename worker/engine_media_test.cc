// Prompts with pictures and sounds.

#include <atomic>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/page_key.h"
#include "worker/testing/test_engine.h"

namespace facet {
namespace {

using ::facet::testing::EngineShape;
using ::facet::testing::Request;
using ::facet::testing::Result;
using ::facet::testing::StatusIs;
using ::facet::testing::TestEngine;
using ::testing::HasSubstr;

// A prompt with an image of 6 x 10 patches and a sound between pieces of text. `seed` makes another
// image under the same ids.
v1::GenerateRequest MediaRequest(uint32_t seed, int text_before, uint32_t tokens_max) {
  std::mt19937 random(seed);
  v1::GenerateRequest request = Request({2}, tokens_max);
  const auto add_ids = [&](int count, uint32_t id) {
    for (int i = 0; i < count; ++i) request.add_prompt_tokens(id == 0 ? 110 + i * 7 % 900 : id);
  };
  add_ids(text_before, 0);
  v1::Media& image = *request.add_media();
  image.set_kind(v1::Media::IMAGE);
  image.set_first_token(request.prompt_tokens_size());
  image.set_tokens(60);
  image.set_grid_width(10);
  for (int i = 0; i < 60 * kPatchElements; ++i) image.mutable_data()->push_back(random() % 256);
  add_ids(60, 2042);
  add_ids(9, 0);
  v1::Media& sound = *request.add_media();
  sound.set_kind(v1::Media::AUDIO);
  sound.set_first_token(request.prompt_tokens_size());
  sound.set_tokens(5);
  for (int i = 0; i < 5 * kFrameSamples * 2; ++i) sound.mutable_data()->push_back(random() % 256);
  add_ids(5, 2043);
  add_ids(4, 0);
  return request;
}

// Given prompts with images and sounds, some with adapters, expect the law of serving to hold for
// them too: alone, among others in steps smaller than an image, preempted, and from a cache that
// ends inside an image.
TEST(EngineMediaTest, MediaObeyTheLawOfServing) {
  std::vector<v1::GenerateRequest> requests;
  for (uint32_t i = 0; i < 12; ++i) {
    requests.push_back(MediaRequest(i % 7, 20 + 5 * i, 12));
    if (i % 3 == 1) requests.back().set_adapter(i % 2 == 0 ? "a" : "b");
  }
  std::vector<Result> alone;
  {
    EngineShape shape;
    shape.media = true;
    shape.adapters = {"a", "b"};
    shape.step_tokens_max = 256;
    TestEngine lone(shape);
    lone.engine->Start();
    for (size_t i = 0; i < requests.size(); ++i) {
      v1::GenerateRequest salted = requests[i];
      salted.set_cache_salt(std::to_string(i));
      alone.push_back(lone.Run(salted, i));
    }
    // The whole prompt again, from the cache.
    const Result again = lone.Run(requests[3], 100), cached = lone.Run(requests[3], 101);
    EXPECT_EQ(again.tokens, alone[3].tokens);
    EXPECT_EQ(cached.tokens, alone[3].tokens);
    EXPECT_EQ(cached.ledger.cached_tokens(), 64u);
    // Another image under the same ids shares nothing that it changes.
    const Result other = lone.Run(MediaRequest(77, 35, 12), 102);
    EXPECT_EQ(other.ledger.cached_tokens(), 0u);
  }
  EngineShape tight;
  tight.media = true;
  tight.adapters = {"a", "b"};
  tight.step_tokens_max = 32;
  tight.kv_bytes = 4 << 20;
  tight.context_tokens_max = 192;
  TestEngine together(tight);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_OK(together.engine->Submit(requests[i], together.results, i));
  }
  together.engine->Start();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(together.results->Wait(i).tokens, alone[i].tokens) << "request " << i;
  }
  // The same where digests come first, and the data of what no cached page covers when they are
  // asked for.
  TestEngine asking(tight);
  std::atomic<int> asked = 0;
  asking.results->on_need_media = [&](uint64_t id, uint32_t index) {
    ++asked;
    asking.engine->AddMedia(asking.results, id, static_cast<int>(index),
                            requests[id].media(static_cast<int>(index)).data());
  };
  for (size_t i = 0; i < requests.size(); ++i) {
    v1::GenerateRequest request = requests[i];
    for (v1::Media& media : *request.mutable_media()) {
      const MediaDigest digest = DigestOfMedia(media.kind(), media.grid_width(), media.data());
      media.set_digest(std::string(digest.begin(), digest.end()));
      media.clear_data();
    }
    EXPECT_OK(asking.engine->Submit(request, asking.results, i));
  }
  asking.engine->Start();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(asking.results->Wait(i).tokens, alone[i].tokens) << "request " << i;
  }
  EXPECT_GE(asked, 14);
  EXPECT_LE(asked, 24);
}

// Given media that do not fit their bytes, the prompt or the model, expect an error that names the
// field.
TEST(EngineMediaTest, RefusesBadMedia) {
  EngineShape shape;
  shape.media = true;
  TestEngine test(shape), text;
  const auto expect = [&](TestEngine& engine, const std::string& what, auto&& change) {
    v1::GenerateRequest request = MediaRequest(1, 10, 2);
    change(request);
    EXPECT_THAT(engine.engine->Submit(request, engine.results, 1),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)));
  };
  using R = v1::GenerateRequest&;
  expect(text, "media[0]: this model takes no images", [](R) {});
  expect(test, "media[0].kind", [](R r) { r.mutable_media(0)->clear_kind(); });
  expect(test, "media[0].tokens is 0", [](R r) { r.mutable_media(0)->set_tokens(0); });
  expect(test, "media[0].data has", [](R r) { r.mutable_media(0)->mutable_data()->pop_back(); });
  expect(test, "media[1].data has", [](R r) { r.mutable_media(1)->mutable_data()->push_back(0); });
  expect(test, "media[0].grid_width is 7", [](R r) { r.mutable_media(0)->set_grid_width(7); });
  expect(test, "media[0].grid_width is 0", [](R r) { r.mutable_media(0)->set_grid_width(0); });
  expect(test, "media[1] has tokens", [](R r) { r.mutable_media(1)->set_first_token(40); });
  expect(test, "media[1] has tokens", [](R r) { r.mutable_media(1)->set_first_token(86); });
  expect(test, "media[0] is 300 patches long, the model knows 288", [](R r) {
    for (int i = 0; i < 300; ++i) r.add_prompt_tokens(2042);
    r.mutable_media(0)->set_tokens(300);
    r.mutable_media(0)->set_grid_width(300);
    r.mutable_media(0)->mutable_data()->resize(300 * kPatchElements);
    r.mutable_media()->RemoveLast();
  });
  expect(test, "media[1].data holds a sample that is no number, at 3", [](R r) {
    v1::Media& sound = *r.mutable_media(1);
    sound.set_sample_type(v1::Media::FLOAT32);
    sound.mutable_data()->assign(5 * kFrameSamples * 4, 0);
    const float nan = std::nanf("");
    std::memcpy(&(*sound.mutable_data())[12], &nan, 4);
  });
}

}  // namespace
}  // namespace facet
