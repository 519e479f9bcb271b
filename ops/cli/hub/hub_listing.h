#ifndef FACET_OPS_CLI_HUB_HUB_LISTING_H_
#define FACET_OPS_CLI_HUB_HUB_LISTING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// A repository of models on a hub, as Hugging Face names them.
struct HubRepository {
  std::string name;  // "owner/name"
  std::string revision = "main";

  // The paths that the hub answers, below its address.
  std::string ListingTarget() const;
  std::string FileTarget(absl::string_view path) const;
  // One folder name for a repository's name and revision: "owner--name--main".
  std::string FolderName() const;
};

// Of "owner/name" or "owner/name@revision". INVALID_ARGUMENT says what such a name may hold.
absl::StatusOr<HubRepository> ParseHubRepository(absl::string_view source);

// A file as the hub lists it.
struct HubFile {
  std::string path;
  uint64_t size_bytes = 0;
  std::string sha256;    // in hexadecimal; of large files, else empty
  std::string git_sha1;  // of the others: of "blob SIZE\0" and the bytes
};

// The files of one answer to ListingTarget. INVALID_ARGUMENT names the entry and the field.
absl::StatusOr<std::vector<HubFile>> ParseHubListing(absl::string_view json);

// The address of the next page in a Link header, or nothing: `<https://...>; rel="next"`.
std::string NextPage(absl::string_view link_header);

// The files beside the weights that an import reads, of those that `listing` has: configuration,
// tokenizer, template, index; of an adapter its configuration. NOT_FOUND if there is no model.
absl::StatusOr<std::vector<HubFile>> SelectSmallFiles(const std::vector<HubFile>& listing);

// The files of weights. `index_json` is the text of model.safetensors.index.json, empty if the
// repository has none. Errors name the file that is missing.
absl::StatusOr<std::vector<HubFile>> SelectWeights(const std::vector<HubFile>& listing,
                                                   absl::string_view index_json);

extern const absl::string_view kWeightsIndexName;

}  // namespace facet

#endif  // FACET_OPS_CLI_HUB_HUB_LISTING_H_
