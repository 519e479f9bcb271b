#include "worker/media_item.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "proto/page_key.h"

namespace facet {
namespace {

constexpr int kPatchPixels = 48 * 48;

// What is wrong with one item, after its name; empty: nothing.
std::string Fault(const v1::Media& media, int64_t begin, int64_t prompt_count,
                  const MediaLimits& limits) {
  if (media.kind() != v1::Media::IMAGE && media.kind() != v1::Media::AUDIO) {
    return absl::StrCat(".kind is ", static_cast<int>(media.kind()), ", neither IMAGE nor AUDIO");
  }
  const bool image = media.kind() == v1::Media::IMAGE;
  if (!(image ? limits.images : limits.sounds)) {
    return absl::StrCat(": this model takes no ", image ? "images" : "sounds");
  }
  if (media.tokens() == 0) return ".tokens is 0";
  if (media.first_token() < begin || int64_t{media.first_token()} + media.tokens() > prompt_count) {
    return absl::StrCat(" has tokens ", media.first_token(), " to ",
                        int64_t{media.first_token()} + media.tokens() - 1, ", not in ", begin,
                        " to ", prompt_count - 1);
  }
  if (!media.digest().empty() && media.digest().size() != MediaDigest().size()) {
    return absl::StrCat(".digest has ", media.digest().size(), " bytes, not ",
                        MediaDigest().size());
  }
  if (!image) {
    if (media.sample_type() != v1::Media::INT16 && media.sample_type() != v1::Media::FLOAT32) {
      return absl::StrCat(".sample_type is ", static_cast<int>(media.sample_type()));
    }
    return "";
  }
  if (media.grid_width() == 0 || media.tokens() % media.grid_width() != 0) {
    return absl::StrCat(".grid_width is ", media.grid_width(), ", which does not divide ",
                        media.tokens(), " tokens");
  }
  const int64_t side = std::max(media.grid_width(), media.tokens() / media.grid_width());
  if (side > limits.grid_side_max) {
    return absl::StrCat(" is ", side, " patches long, the model knows ", limits.grid_side_max);
  }
  if (static_cast<int64_t>(media.tokens()) > limits.image_tokens_max) {
    return absl::StrCat(".tokens is ", media.tokens(), ", this worker takes ",
                        limits.image_tokens_max, " of an image at most");
  }
  return "";
}

float SampleAt(const MediaItem& item, int64_t index) {
  if (item.float_samples) {
    float value;
    std::memcpy(&value, item.data.data() + index * 4, 4);
    return value;
  }
  int16_t value;
  std::memcpy(&value, item.data.data() + index * 2, 2);
  return static_cast<float>(value) / 32768.0f;
}

// What is wrong with its data, after its name.
std::string DataFault(const v1::Media& media, absl::string_view data) {
  if (static_cast<int64_t>(data.size()) != MediaBytes(media)) {
    return absl::StrCat(".data has ", data.size(), " bytes, ", media.tokens(), " tokens have ",
                        MediaBytes(media));
  }
  MediaItem item = MediaItemOf(media);
  item.data = data;
  for (int64_t i = 0; item.float_samples && i < int64_t{item.tokens} * kFrameSamples; ++i) {
    if (!std::isfinite(SampleAt(item, i))) {
      return absl::StrCat(".data holds a sample that is no number, at ", i);
    }
  }
  if (media.digest().empty()) return "";
  const MediaDigest digest = DigestOfMedia(media.kind(), media.grid_width(), data);
  const absl::string_view own(reinterpret_cast<const char*>(digest.data()), digest.size());
  return media.digest() == own ? "" : ".digest is not that of its data";
}

absl::Status Named(int index, const std::string& fault) {
  if (fault.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("media[", index, "]", fault));
}

}  // namespace

int64_t MediaBytes(const v1::Media& media) {
  const int64_t tokens = media.tokens();
  if (media.kind() == v1::Media::IMAGE) return tokens * kPatchElements;
  return tokens * kFrameSamples * (media.sample_type() == v1::Media::FLOAT32 ? 4 : 2);
}

absl::Status CheckMedia(const google::protobuf::RepeatedPtrField<v1::Media>& media,
                        int prompt_count, const MediaLimits& limits) {
  int64_t begin = 0;
  for (int i = 0; i < media.size(); ++i) {
    RETURN_IF_ERROR(Named(i, Fault(media[i], begin, prompt_count, limits)));
    if (!media[i].data().empty() || media[i].digest().empty()) {
      RETURN_IF_ERROR(CheckMediaData(media[i], i, media[i].data()));
    }
    begin = int64_t{media[i].first_token()} + media[i].tokens();
  }
  return absl::OkStatus();
}

absl::Status CheckMediaData(const v1::Media& media, int index, absl::string_view data) {
  return Named(index, DataFault(media, data));
}

MediaItem MediaItemOf(const v1::Media& media) {
  MediaItem item;
  item.image = media.kind() == v1::Media::IMAGE;
  item.first_token = static_cast<int32_t>(media.first_token());
  item.tokens = static_cast<int32_t>(media.tokens());
  item.grid_width = static_cast<int32_t>(media.grid_width());
  item.float_samples = !item.image && media.sample_type() == v1::Media::FLOAT32;
  item.data = media.data();
  return item;
}

void WriteMediaValues(const MediaToken& token, float* out) {
  const MediaItem& item = *token.item;
  if (!item.image) {
    for (int i = 0; i < kFrameSamples; ++i) {
      out[i] = SampleAt(item, int64_t{token.index} * kFrameSamples + i);
    }
    return;
  }
  const auto* bytes =
      reinterpret_cast<const uint8_t*>(item.data.data()) + int64_t{token.index} * kPatchElements;
  // As transformers computes it: a multiplication by the float nearest to 1/255.
  constexpr float kScale = 1.0f / 255.0f;
  for (int pixel = 0; pixel < kPatchPixels; ++pixel) {
    for (int colour = 0; colour < 3; ++colour) {
      out[colour * kPatchPixels + pixel] = static_cast<float>(bytes[pixel * 3 + colour]) * kScale;
    }
  }
}

}  // namespace facet
