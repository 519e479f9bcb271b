#include "ops/cli/hub/hub_listing.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "model/json.h"
#include "model/safetensors.h"

namespace facet {

const absl::string_view kWeightsIndexName = "model.safetensors.index.json";

namespace {

namespace json = boost::json;

constexpr absl::string_view kModelFiles[] = {
    "config.json",           "generation_config.json", "tokenizer.json",
    "tokenizer_config.json", "chat_template.jinja",    kWeightsIndexName,
};
constexpr absl::string_view kAdapterConfig = "adapter_config.json";
constexpr absl::string_view kAdapterWeights = "adapter_model.safetensors";
constexpr absl::string_view kModelWeights = "model.safetensors";

constexpr size_t kNameBytesMax = 96;  // Hugging Face's own bound
constexpr size_t kRevisionBytesMax = 255;
// Far beyond any file, and sums of as many as there may be stay within 64 bits.
constexpr int64_t kFileBytesMax = int64_t{1} << 46;

// What stands in paths of files and addresses alike, and can lead nowhere else.
bool IsPlainName(absl::string_view name) {
  return !name.empty() && name.size() <= kNameBytesMax && !absl::StartsWith(name, ".") &&
         !absl::StartsWith(name, "-") && !absl::StrContains(name, "..") &&
         absl::c_all_of(name, [](char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
         });
}

bool IsRevision(absl::string_view revision) {
  return revision.size() <= kRevisionBytesMax &&
         absl::c_all_of(absl::StrSplit(revision, '/'), IsPlainName);
}

std::string EscapeSlashes(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"/", "%2F"}});
}

bool IsHex(absl::string_view text, size_t size) {
  return text.size() == size && absl::c_all_of(text, [](char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

absl::Status Refuse(const std::string& where, absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": '", key, "' ", what));
}

absl::StatusOr<std::string> TextField(const json::object& object, absl::string_view key,
                                      const std::string& where) {
  const json::value* value = object.if_contains({key.data(), key.size()});
  if (value == nullptr || !value->is_string()) return Refuse(where, key, "is not a string");
  return std::string(value->get_string());
}

absl::StatusOr<HubFile> ParseFile(const json::object& entry, const std::string& where) {
  HubFile file;
  ASSIGN_OR_RETURN(file.path, TextField(entry, "path", where));
  const json::value* size = entry.if_contains("size");
  json::error_code error;
  const int64_t bytes = size == nullptr ? -1 : size->to_number<int64_t>(error);
  if (error || bytes < 0 || bytes > kFileBytesMax) {
    return Refuse(absl::StrCat(where, " (", file.path, ")"), "size", "is not a number of bytes");
  }
  file.size_bytes = static_cast<uint64_t>(bytes);
  if (const json::value* lfs = entry.if_contains("lfs"); lfs != nullptr && lfs->is_object()) {
    ASSIGN_OR_RETURN(file.sha256, TextField(lfs->get_object(), "oid", where + " lfs"));
    if (!IsHex(file.sha256, 64)) return Refuse(where + " lfs", "oid", "is not a SHA-256");
    return file;
  }
  ASSIGN_OR_RETURN(file.git_sha1, TextField(entry, "oid", where));
  if (!IsHex(file.git_sha1, 40)) return Refuse(where, "oid", "is not a SHA-1");
  return file;
}

std::optional<HubFile> Find(const std::vector<HubFile>& listing, absl::string_view path) {
  const auto found = std::find_if(listing.begin(), listing.end(),
                                  [&](const HubFile& f) { return f.path == path; });
  if (found == listing.end()) return std::nullopt;
  return *found;
}

}  // namespace

std::string HubRepository::ListingTarget() const {
  return absl::StrCat("/api/models/", name, "/tree/", EscapeSlashes(revision), "?recursive=true");
}

std::string HubRepository::FileTarget(absl::string_view path) const {
  return absl::StrCat("/", name, "/resolve/", EscapeSlashes(revision), "/", path);
}

std::string HubRepository::FolderName() const {
  return absl::StrReplaceAll(absl::StrCat(name, "/", revision), {{"/", "--"}});
}

absl::StatusOr<HubRepository> ParseHubRepository(absl::string_view source) {
  const size_t at = source.find('@');
  HubRepository repository;
  repository.name = std::string(source.substr(0, at));
  if (at != source.npos) repository.revision = std::string(source.substr(at + 1));
  const std::vector<absl::string_view> parts = absl::StrSplit(repository.name, '/');
  if (parts.size() != 2 || !absl::c_all_of(parts, IsPlainName)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", source, "' is no file, no folder and no repository of a hub: these are ",
                     "owner/name of letters, digits, '-', '_' and '.'"));
  }
  if (!IsRevision(repository.revision)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", source, "': the revision behind '@' is a branch, a tag or a commit of letters, ",
        "digits, '-', '_', '.' and '/'"));
  }
  return repository;
}

absl::StatusOr<std::vector<HubFile>> ParseHubListing(absl::string_view text) {
  ASSIGN_OR_RETURN(const json::value listing, ParseJson(text, "the hub's list of files"));
  if (!listing.is_array()) {
    return absl::InvalidArgumentError("the hub's list of files is not an array");
  }
  std::vector<HubFile> files;
  for (size_t i = 0; i < listing.get_array().size(); ++i) {
    const std::string where = absl::StrCat("the hub's list of files, entry ", i);
    const json::value& entry = listing.get_array()[i];
    if (!entry.is_object()) return absl::InvalidArgumentError(where + " is not an object");
    ASSIGN_OR_RETURN(const std::string type, TextField(entry.get_object(), "type", where));
    if (type != "file") continue;
    ASSIGN_OR_RETURN(HubFile file, ParseFile(entry.get_object(), where));
    files.push_back(std::move(file));
  }
  return files;
}

std::string NextPage(absl::string_view link_header) {
  for (const absl::string_view link : absl::StrSplit(link_header, ',')) {
    const size_t begin = link.find('<'), end = link.find('>');
    if (begin == link.npos || end == link.npos || end < begin) continue;
    if (!absl::StrContains(link.substr(end), "rel=\"next\"")) continue;
    return std::string(link.substr(begin + 1, end - begin - 1));
  }
  return "";
}

absl::StatusOr<std::vector<HubFile>> SelectSmallFiles(const std::vector<HubFile>& listing) {
  std::vector<HubFile> selected;
  if (const auto adapter = Find(listing, kAdapterConfig); adapter.has_value()) {
    selected.push_back(*adapter);
    return selected;
  }
  if (!Find(listing, kModelFiles[0]).has_value()) {
    return absl::NotFoundError(
        "there is neither a config.json nor an adapter_config.json in it: no model to import");
  }
  for (const absl::string_view name : kModelFiles) {
    if (const auto file = Find(listing, name); file.has_value()) selected.push_back(*file);
  }
  return selected;
}

absl::StatusOr<std::vector<HubFile>> SelectWeights(const std::vector<HubFile>& listing,
                                                   absl::string_view index_json) {
  std::vector<std::string> names;
  if (Find(listing, kAdapterConfig).has_value()) {
    names = {std::string(kAdapterWeights)};
  } else if (index_json.empty()) {
    names = {std::string(kModelWeights)};
  } else {
    ASSIGN_OR_RETURN(names, ParseSafetensorsIndex(index_json));
  }
  std::vector<HubFile> selected;
  for (const std::string& name : names) {
    if (!IsPlainName(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(kWeightsIndexName, " names a file '", name, "' that is no plain name"));
    }
    const auto file = Find(listing, name);
    if (!file.has_value()) return absl::NotFoundError(absl::StrCat("there is no ", name, " in it"));
    selected.push_back(*file);
  }
  return selected;
}

}  // namespace facet
