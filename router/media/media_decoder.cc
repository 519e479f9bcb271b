#include "router/media/media_decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/media/audio_decoder.h"
#include "model/media/audio_frames.h"
#include "model/media/image_decoder.h"
#include "model/media/image_patches.h"
#include "model/media/video_frames.h"
#include "proto/page_key.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

using Kind = MediaPart::Kind;

absl::Status Refuse(const std::string& param, absl::string_view why) {
  return InvalidParam(param, absl::StrCat("`", param, "`: ", why, "."));
}

absl::Status CheckSupport(const MediaPart& part, const v1::MediaSupport& support) {
  const bool sound = part.kind == Kind::kAudio;
  // A frame of a video has the smallest of budgets.
  const bool fits = sound ? support.sounds()
                          : support.images() && static_cast<int>(support.image_tokens_max()) >=
                                                    kImageTokensMaxChoices[0];
  if (fits) return absl::OkStatus();
  return InvalidParam(part.param,
                      absl::StrCat("`", part.param, "`: this model takes no ", NameOf(part.kind)),
                      "unsupported_value");
}

// The budget asked for, or the greatest below it that the model knows.
absl::StatusOr<int> ImageBudget(const MediaPart& part, const v1::MediaSupport& support) {
  const int most = static_cast<int>(support.image_tokens_max());
  if (part.image_tokens_max <= most) return part.image_tokens_max;
  if (part.image_tokens_named) {
    return Refuse(part.param,
                  absl::StrCat("max_soft_tokens is ", part.image_tokens_max,
                               ", but this model takes pictures of ", most, " tokens at most"));
  }
  int budget = 0;
  for (const int choice : kImageTokensMaxChoices) {
    if (choice <= most) budget = choice;
  }
  return budget;
}

void SetDigest(MediaTensor& tensor) {
  const MediaDigest digest =
      DigestOfMedia(tensor.head.kind(), tensor.head.grid_width(), tensor.data);
  tensor.head.set_digest(std::string(digest.begin(), digest.end()));
}

MediaTensor ImageTensor(const ImagePatches& patches) {
  MediaTensor tensor;
  tensor.head.set_kind(v1::Media::IMAGE);
  tensor.head.set_tokens(patches.tokens());
  tensor.head.set_grid_width(patches.grid_width);
  tensor.data.assign(patches.values.begin(), patches.values.end());
  SetDigest(tensor);
  return tensor;
}

// What came from 16-bit samples of 16 kHz is sent as these: half of the bytes, the same values.
bool IsInt16(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) {
    const float scaled = value * 32768.0f;
    return scaled == std::nearbyint(scaled) && scaled >= -32768.0f && scaled <= 32767.0f;
  });
}

MediaTensor SoundTensor(const AudioFrames& frames) {
  MediaTensor tensor;
  tensor.head.set_kind(v1::Media::AUDIO);
  tensor.head.set_tokens(frames.frames);
  if (IsInt16(frames.values)) {
    tensor.head.set_sample_type(v1::Media::INT16);
    std::vector<int16_t> samples;
    samples.reserve(frames.values.size());
    for (const float value : frames.values) {
      samples.push_back(static_cast<int16_t>(value * 32768.0f));
    }
    tensor.data.resize(samples.size() * sizeof(int16_t));
    std::memcpy(tensor.data.data(), samples.data(), tensor.data.size());
  } else {
    tensor.head.set_sample_type(v1::Media::FLOAT32);
    tensor.data.resize(frames.values.size() * sizeof(float));
    std::memcpy(tensor.data.data(), frames.values.data(), tensor.data.size());
  }
  SetDigest(tensor);
  return tensor;
}

absl::Status Decode(const MediaPart& part, absl::string_view file, const v1::MediaSupport& support,
                    DecodedMedia& media) {
  switch (part.kind) {
    case Kind::kImage: {
      ASSIGN_OR_RETURN(const int budget, ImageBudget(part, support));
      ASSIGN_OR_RETURN(RgbImage image, DecodeImage(file));
      ASSIGN_OR_RETURN(const ImagePatches patches, MakeImagePatches(std::move(image), budget));
      media.tensors.push_back(ImageTensor(patches));
      return absl::OkStatus();
    }
    case Kind::kAudio: {
      ASSIGN_OR_RETURN(const std::vector<float> samples, DecodeAudio(file));
      media.tensors.push_back(SoundTensor(CutAudioFrames(samples)));
      return absl::OkStatus();
    }
    case Kind::kVideo: {
      ASSIGN_OR_RETURN(const std::vector<VideoFrame> frames, DecodeVideo(file));
      for (const VideoFrame& frame : frames) {
        media.tensors.push_back(ImageTensor(frame.patches));
        media.timestamps.push_back(frame.timestamp);
      }
      return absl::OkStatus();
    }
  }
  return absl::InternalError("a part of no kind");
}

}  // namespace

absl::StatusOr<DecodedMedia> DecodeMedia(MediaPart part, const v1::MediaSupport& support) {
  RETURN_IF_ERROR(CheckSupport(part, support));
  std::string file = std::move(part.bytes);
  if (!part.base64.empty()) {
    if (!absl::Base64Unescape(part.base64, &file)) {
      return Refuse(part.param, "the data are not base64");
    }
    part.base64 = std::string();
  }
  DecodedMedia media;
  media.kind = part.kind;
  media.param = part.param;
  const absl::Status status = Decode(part, file, support, media);
  if (status.ok()) return media;
  if (!ParamOf(status).empty()) return status;
  return Refuse(part.param, status.message());
}

int64_t DecodedBytesMax(const MediaPart& part) {
  switch (part.kind) {
    case Kind::kImage:
      return int64_t{part.image_tokens_max} * kPatchValues;
    case Kind::kAudio:
      return int64_t{AudioLimits().seconds_max} * kAudioSamplesPerSecond * sizeof(float);
    case Kind::kVideo:
      return std::llround(VideoLimits().seconds_max) * kVideoFrameTokensMax * kPatchValues;
  }
  return 0;
}

}  // namespace facet
