#include <boost/json.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/safetensors_writer.h"
#include "ops/cli/command.h"
#include "ops/cli/input_request.h"
#include "ops/cli/json_lines.h"
#include "ops/cli/media_tensors.h"
#include "worker/model_flags.h"

ABSL_FLAG(std::string, output_dir, ".", "Folder that `embed` writes its files to.");

namespace facet {
namespace {

namespace json = boost::json;

template <typename T>
void Append(const std::vector<NamedValues<T>>& named, const char* dtype,
            std::vector<SafetensorsTensor>& tensors) {
  for (const NamedValues<T>& entry : named) {
    const absl::string_view bytes(reinterpret_cast<const char*>(entry.values.data()),
                                  entry.values.size() * sizeof(T));
    tensors.push_back({entry.name, dtype, entry.shape, bytes});
  }
}

absl::Status Run(const std::vector<absl::string_view>&) {
  ASSIGN_OR_RETURN(LoadedModel model, LoadModelFromFlags());
  ASSIGN_OR_RETURN(const auto served, DescribeLocally(model));
  int written = 0;
  return ForEachInputLine([&](const json::object& line) -> absl::Status {
    ASSIGN_OR_RETURN(GenerationRequest request, ParseInputRequest(line));
    if (request.media.empty()) {
      return absl::InvalidArgumentError("has no picture, sound or video");
    }
    RETURN_IF_ERROR(DecodeMediaOf(request, served->media));
    ASSIGN_OR_RETURN(const MediaTensors media, BlockingEmbed(model, *request.loaded_media));
    std::vector<SafetensorsTensor> tensors;
    Append(media.floats, "F32", tensors);
    Append(media.positions, "I32", tensors);
    const std::string path =
        absl::StrCat(absl::GetFlag(FLAGS_output_dir), "/embed-", written++, ".safetensors");
    RETURN_IF_ERROR(WriteSafetensorsFile(path, tensors));
    PrintLine({{"path", path}});
    return absl::OkStatus();
  });
}

}  // namespace

const Command kEmbedCommand = {
    "embed", "pictures, sounds and videos in, what the model makes of them out",
    "facet embed --model=PATH [--mmproj=PATH] [--output_dir=FOLDER]: JSON lines on stdin, each an\n"
    "OpenAI chat body with pictures, sounds or videos as data: URLs. Nothing is generated. Writes\n"
    "FOLDER/embed-0.safetensors and so on, and gives a line {\"path\":\"...\"} for each. Of the "
    "N-th\n"
    "of a kind: imageN.patches, imageN.positions, imageN.embeddings; soundN.frames,\n"
    "soundN.embeddings; videoN.patches, videoN.positions, videoN.embeddings.\n\n"
    "  echo "
    "'{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\n"
    "    \"url\":\"data:image/png;base64,...\"}}]}]}' | facet embed --model=facet-nano.gguf",
    Run};

}  // namespace facet
