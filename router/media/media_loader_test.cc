#include "router/media/media_loader.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/media/testing/test_media.h"
#include "router/api/api_error.h"
#include "router/media/loaded_media.h"

namespace facet {
namespace {

namespace asio = boost::asio;
using ::facet::testing::ReadMedia;
using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

// What decoding the picture below needs at most: its budget of 70 tokens and the file itself.
constexpr int64_t kPictureBytes = 70 * 6912 + 1024;

class MediaLoaderTest : public ::testing::Test {
 protected:
  static GenerationRequest Request(int pictures, const std::string& name = "rgb.png") {
    GenerationRequest request;
    for (int i = 0; i < pictures; ++i) {
      MediaPart& part = request.media.emplace_back();
      part.param = "media[" + std::to_string(i) + "]";
      part.base64 = absl::Base64Escape(ReadMedia(name));
      part.image_tokens_max = 70;
    }
    return request;
  }

  absl::Status Load(GenerationRequest& request, bool client_left = false) {
    auto model = std::make_shared<ServedModel>();
    model->media.set_images(true);
    model->media.set_image_tokens_max(1120);
    MediaLoader& loader = *loader_;
    auto result = asio::co_spawn(
        asio::make_strand(context_),
        loader.Load(request, std::move(model), std::make_shared<std::atomic<bool>>(client_left)),
        asio::use_future);
    context_.restart();
    context_.run();
    return result.get();
  }
  void Make(const MediaLoaderOptions& options) { loader_ = std::make_unique<MediaLoader>(options); }

  asio::io_context context_;  // Outlives the loader's threads.
  std::unique_ptr<MediaLoader> loader_ = std::make_unique<MediaLoader>(MediaLoaderOptions());
};

// Given pictures, expect their tensors in order, and their bytes held just as long as they live.
TEST_F(MediaLoaderTest, LoadsAndHoldsBytes) {
  GenerationRequest request = Request(3);
  ASSERT_OK(Load(request));
  EXPECT_TRUE(request.media.empty());
  ASSERT_EQ(request.loaded_media->parts.size(), 3u);
  int64_t bytes = 0;
  for (const MediaTensor* tensor : request.loaded_media->Tensors()) {
    bytes += static_cast<int64_t>(tensor->data.size());
  }
  EXPECT_EQ(request.loaded_media->parts[2].param, "media[2]");
  EXPECT_EQ(loader_->bytes_held(), bytes);
  GenerationRequest copy = request;
  request.loaded_media = nullptr;
  EXPECT_EQ(loader_->bytes_held(), bytes);
  copy.loaded_media = nullptr;
  EXPECT_EQ(loader_->bytes_held(), 0);
}

// Given nothing to load, expect no work and no model needed.
TEST_F(MediaLoaderTest, NothingToLoad) {
  GenerationRequest request;
  EXPECT_OK(Load(request));
  EXPECT_EQ(request.loaded_media, nullptr);
}

// Given a broken picture among others, expect its error, and no bytes held afterwards.
TEST_F(MediaLoaderTest, OneBrokenPictureFailsAll) {
  GenerationRequest request = Request(3);
  request.media[1].base64 = "AAAA";
  const absl::Status status = Load(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParamOf(status), "media[1]");
  EXPECT_EQ(loader_->bytes_held(), 0);
}

// Given a queue that has no room for all pictures of a request, expect it to be shed as a whole.
TEST_F(MediaLoaderTest, FullQueueSheds) {
  MediaLoaderOptions options;
  options.waiting_max = 2;
  Make(options);
  GenerationRequest fits = Request(2), too_many = Request(3);
  EXPECT_OK(Load(fits));
  const absl::Status shed = Load(too_many);
  EXPECT_THAT(shed, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("wait")));
  EXPECT_EQ(CodeOf(shed), kMediaBusyCode);
}

// Given others that hold the bytes, expect a request to be shed until they end; given one that
// could never have enough, an error that says the limit.
TEST_F(MediaLoaderTest, ByteBound) {
  MediaLoaderOptions options;
  options.bytes_max = 2 * kPictureBytes;
  Make(options);
  GenerationRequest first = Request(1), second = Request(2), third = Request(8);
  ASSERT_OK(Load(first));
  EXPECT_THAT(Load(second), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("in work")));
  first.loaded_media = nullptr;
  second = Request(2);
  EXPECT_OK(Load(second));
  EXPECT_THAT(Load(third), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("MiB")));
}

// Given a client that left, expect nothing to be decoded.
TEST_F(MediaLoaderTest, ClientLeft) {
  GenerationRequest request = Request(1);
  EXPECT_THAT(Load(request, /*client_left=*/true),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("left")));
}

}  // namespace
}  // namespace facet
