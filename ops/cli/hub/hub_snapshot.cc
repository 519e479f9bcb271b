#include "ops/cli/hub/hub_snapshot.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "ops/cli/free_disk.h"
#include "ops/cli/hub/hub_download.h"
#include "ops/cli/progress.h"

namespace facet {
namespace {

constexpr uint64_t kListingBytesMax = 16 << 20;
constexpr int kListingPagesMax = 100;

absl::StatusOr<std::vector<HubFile>> BlockingList(HubClient& client,
                                                  const HubRepository& repository) {
  std::vector<HubFile> files;
  std::string target = repository.ListingTarget();
  for (int page = 0; page < kListingPagesMax; ++page) {
    ASSIGN_OR_RETURN(const HubClient::Text answer,
                     client.BlockingGetText(target, kListingBytesMax));
    ASSIGN_OR_RETURN(const std::vector<HubFile> more, ParseHubListing(answer.body));
    files.insert(files.end(), more.begin(), more.end());
    target = NextPage(answer.link);
    if (target.empty()) return files;
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the hub's list of files has more than ", kListingPagesMax, " pages"));
}

class Snapshot {
 public:
  Snapshot(HubClient& client, const HubRepository& repository, std::string folder)
      : client_(client), repository_(repository), folder_(std::move(folder)) {}

  absl::Status BlockingFetch() {
    ASSIGN_OR_RETURN(const std::vector<HubFile> listing, BlockingList(client_, repository_));
    ASSIGN_OR_RETURN(const std::vector<HubFile> small, SelectSmallFiles(listing));
    RETURN_IF_ERROR(BlockingFetchAll(small));
    std::string index;
    for (const HubFile& file : small) {
      if (file.path != kWeightsIndexName) continue;
      std::ifstream stream(PathOf(file), std::ios::binary);
      index.assign(std::istreambuf_iterator<char>(stream), {});
    }
    ASSIGN_OR_RETURN(const std::vector<HubFile> weights, SelectWeights(listing, index));
    return BlockingFetchAll(weights);
  }

 private:
  absl::Status BlockingFetchAll(const std::vector<HubFile>& files) {
    uint64_t total = 0, present = 0;
    for (const HubFile& file : files) {
      total += file.size_bytes;
      present += BytesPresent(file, PathOf(file));
    }
    RETURN_IF_ERROR(RequireFreeDisk(folder_, total - present));
    Progress progress(absl::StrCat("downloading ", repository_.name), Progress::Unit::kBytes);
    uint64_t before = 0;
    for (const HubFile& file : files) {
      RETURN_IF_ERROR(
          BlockingDownload(client_, repository_.FileTarget(file.path), file, PathOf(file),
                           [&](uint64_t bytes) { progress.Show(before + bytes, total); }));
      before += file.size_bytes;
    }
    return absl::OkStatus();
  }

  std::string PathOf(const HubFile& file) const { return absl::StrCat(folder_, "/", file.path); }

  HubClient& client_;
  const HubRepository& repository_;
  const std::string folder_;
};

}  // namespace

absl::StatusOr<std::string> BlockingFetchSnapshot(HubClient& client,
                                                  const HubRepository& repository,
                                                  const std::string& cache_folder) {
  const std::string folder = absl::StrCat(cache_folder, "/", repository.FolderName());
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot make the folder ", folder, ": ", error.message()));
  }
  const absl::Status status = Snapshot(client, repository, folder).BlockingFetch();
  if (status.ok()) return folder;
  return absl::Status(status.code(), absl::StrCat(repository.name, ": ", status.message()));
}

}  // namespace facet
