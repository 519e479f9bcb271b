#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/adapter.h"
#include "model/adapter_writer.h"
#include "model/config.h"
#include "model/gguf_writer.h"
#include "model/model_file.h"
#include "ops/cli/command.h"
#include "ops/cli/convert_tensor.h"
#include "ops/cli/free_disk.h"
#include "ops/cli/hub/hub_client.h"
#include "ops/cli/hub/hub_listing.h"
#include "ops/cli/hub/hub_snapshot.h"
#include "ops/cli/progress.h"
#include "ops/cli/quantize_mix.h"

ABSL_FLAG(
    std::string, quantize, "",
    "Types of the matrices: F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q4_K_M, Q4_K_S, Q4_0.");
ABSL_FLAG(std::string, name, "", "Name to put into the file (general.name).");
ABSL_FLAG(std::string, endpoint, "",
          "Hub that has the repository; empty: $HF_ENDPOINT, then https://huggingface.co.");
ABSL_FLAG(std::string, cache_dir, "",
          "Folder for what a hub sends; empty: facet-hub-cache beside the target.");
ABSL_FLAG(int, hub_silence_ms, 30'000, "Longest wait for the hub's next bytes.");
ABSL_FLAG(int, hub_failures_max, 8, "Tries in a row that bring nothing before a download fails.");
ABSL_FLAG(int, hub_pause_ms, 1000, "Pause after a failed try; doubled after each further one.");
ABSL_DECLARE_FLAG(std::string, model);
ABSL_DECLARE_FLAG(int, threads);

namespace facet {
namespace {

// As much as a worker loads (worker/adapter_registry.h).
constexpr int64_t kAdapterBytesMax = int64_t{1} << 30;
constexpr absl::string_view kDefaultEndpoint = "https://huggingface.co";

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The folder that `target` is to stand in; found out before anything is downloaded for it.
absl::StatusOr<std::string> FolderOf(const std::string& target) {
  const std::filesystem::path parent = std::filesystem::path(target).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  struct stat info;
  if (stat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return absl::NotFoundError(absl::StrCat("cannot create ", target, ": there is no such folder"));
  }
  if (stat(target.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot replace ", target, ": it is no file"));
  }
  return folder;
}

absl::StatusOr<HubOptions> HubOptionsFromFlags() {
  std::string endpoint = absl::GetFlag(FLAGS_endpoint);
  if (endpoint.empty()) endpoint = Environment("HF_ENDPOINT");
  if (endpoint.empty()) endpoint = std::string(kDefaultEndpoint);
  ASSIGN_OR_RETURN(HubOptions options, MakeHubOptions(endpoint, Environment("HF_TOKEN")));
  options.silence_max_ms = absl::GetFlag(FLAGS_hub_silence_ms);
  options.failures_max = absl::GetFlag(FLAGS_hub_failures_max);
  options.pause_ms = absl::GetFlag(FLAGS_hub_pause_ms);
  if (options.silence_max_ms < 1) return absl::InvalidArgumentError("--hub_silence_ms is below 1");
  if (options.pause_ms < 0) return absl::InvalidArgumentError("--hub_pause_ms is below 0");
  return options;
}

// Where the source lies on this machine: where it is, or where a hub's files were put.
absl::StatusOr<std::string> BlockingLocalSource(const std::string& source,
                                                const std::string& target_folder) {
  if (Exists(source)) return source;
  ASSIGN_OR_RETURN(const HubRepository repository, ParseHubRepository(source));
  ASSIGN_OR_RETURN(HubOptions options, HubOptionsFromFlags());
  HubClient client(std::move(options));
  std::string cache = absl::GetFlag(FLAGS_cache_dir);
  if (cache.empty()) cache = target_folder + "/facet-hub-cache";
  return BlockingFetchSnapshot(client, repository, cache);
}

// Each tensor as it is to be written; without a mix each keeps its type.
std::vector<GgufTensorSource> TensorSources(const ModelFile& file,
                                            const std::optional<QuantizeMix>& mix) {
  int threads = absl::GetFlag(FLAGS_threads);
  if (threads <= 0) threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::vector<TensorType> types;
  if (mix.has_value()) types = TypesOf(*mix, file.tensors());
  std::vector<GgufTensorSource> sources;
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const Tensor& tensor = file.tensors()[i];
    const TensorType type = mix.has_value() ? types[i] : tensor.type;
    sources.push_back({tensor.name, type, tensor.shape,
                       [&tensor, type, threads] { return ConvertTensor(tensor, type, threads); }});
  }
  return sources;
}

// An adapter's shapes are those of its base model, which --model names. Its own types are kept.
absl::Status ImportAdapter(const std::string& folder, const std::string& target) {
  if (!absl::GetFlag(FLAGS_quantize).empty()) {
    return absl::InvalidArgumentError("--quantize is for models; an adapter keeps its types");
  }
  const std::string base = absl::GetFlag(FLAGS_model);
  if (base.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " is an adapter: name its base model with --model"));
  }
  ASSIGN_OR_RETURN(const Metadata metadata, ReadModelMetadata(base));
  ASSIGN_OR_RETURN(const TextConfig config, ReadTextConfig(metadata));
  ASSIGN_OR_RETURN(const std::unique_ptr<AdapterFile> adapter,
                   AdapterFile::Open(folder, config, kAdapterBytesMax));
  return WriteAdapterGguf(*adapter, absl::GetFlag(FLAGS_name), target);
}

absl::Status ImportModel(const std::string& source, const std::string& target,
                         const std::string& target_folder, const std::optional<QuantizeMix>& mix) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ModelFile> file, ModelFile::Open(source));
  Metadata metadata = file->metadata();
  if (!absl::GetFlag(FLAGS_name).empty()) metadata.Set("general.name", absl::GetFlag(FLAGS_name));
  if (mix.has_value()) metadata.Set("general.file_type", mix->file_type);
  metadata.Set("general.quantization_version", uint32_t{2});
  const std::vector<GgufTensorSource> tensors = TensorSources(*file, mix);
  RETURN_IF_ERROR(RequireFreeDisk(target_folder, GgufBytes(metadata, tensors)));
  Progress progress(absl::StrCat("writing ", target), Progress::Unit::kBytes);
  return WriteGgufFile(target, metadata, tensors,
                       [&](uint64_t done, uint64_t total) { progress.Show(done, total); });
}

absl::Status Run(const std::vector<absl::string_view>& arguments) {
  if (arguments.size() != 2) return absl::InvalidArgumentError("name a source and a target");
  const std::string source(arguments[0]), target(arguments[1]);
  std::optional<QuantizeMix> mix;
  if (const std::string name = absl::GetFlag(FLAGS_quantize); !name.empty()) {
    ASSIGN_OR_RETURN(mix, QuantizeMixFromName(name));
  }
  ASSIGN_OR_RETURN(const std::string target_folder, FolderOf(target));
  ASSIGN_OR_RETURN(const std::string path, BlockingLocalSource(source, target_folder));
  if (Exists(path + "/adapter_config.json")) return ImportAdapter(path, target);
  return ImportModel(path, target, target_folder, mix);
}

}  // namespace

const Command kImportCommand = {
    "import", "a Hugging Face repository or folder, or a GGUF file, to a GGUF file",
    "facet import SOURCE TARGET.gguf [--quantize=TYPES] [--name=NAME]: SOURCE is a folder with\n"
    "config.json, tokenizer.json and safetensors, a GGUF file, or owner/name[@revision] of a hub.\n"
    "With --quantize each matrix gets the type that llama.cpp's quantiser gives it under that "
    "name\n"
    "(Q4_K_M: four bits, six where errors cost most); without, each keeps its type. A folder or\n"
    "repository with adapter_config.json becomes a GGUF adapter; --model names its base model.\n\n"
    "What a hub sends is kept in --cache_dir, checked against the hub's digests, and not asked "
    "for\n"
    "again; an interrupted download goes on where it was. A private repository needs a token in "
    "the\n"
    "environment's HF_TOKEN. --endpoint names another hub than Hugging Face.\n\n"
    "  facet import google/gemma-4-12B-it gemma-4-12b-it-Q4_K_M.gguf --quantize=Q4_K_M\n"
    "  facet import ./gemma-4-12b-it gemma-4-12b-it-Q8_0.gguf --quantize=Q8_0",
    Run};

}  // namespace facet
