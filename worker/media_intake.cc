#include "worker/media_intake.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/media_item.h"

namespace facet {

void MediaIntake::Expect(uint64_t stream_id, const v1::GenerateRequest& request) {
  bool lacks = false;
  for (const v1::Media& media : request.media()) lacks |= media.data().empty();
  if (!lacks) return;
  Stream& stream = streams_[stream_id];
  for (const v1::Media& media : request.media()) {
    v1::Media& head = *stream.media.Add();
    head.set_kind(media.kind());
    head.set_tokens(media.tokens());
    head.set_grid_width(media.grid_width());
    head.set_sample_type(media.sample_type());
    head.set_digest(media.digest());
  }
}

std::optional<MediaIntake::Item> MediaIntake::Add(const v1::SessionRequest::MediaChunk& chunk) {
  const auto found = streams_.find(chunk.stream_id());
  if (found == streams_.end()) return std::nullopt;
  Stream& stream = found->second;
  absl::Status status = Append(chunk, stream);
  if (status.ok() && !chunk.last()) return std::nullopt;
  Item item{stream.index, std::move(stream.data)};
  stream.index = -1;
  stream.data.clear();
  if (status.ok()) {
    status = CheckMediaData(stream.media[item.index], item.index, *item.data);
  }
  if (!status.ok()) {
    item.data = std::move(status);
    streams_.erase(found);
  }
  return item;
}

absl::Status MediaIntake::Append(const v1::SessionRequest::MediaChunk& chunk, Stream& stream) {
  const auto index = static_cast<int64_t>(chunk.media());
  if (index >= stream.media.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("media_chunk.media is ", index, ", the request has ", stream.media.size()));
  }
  if (stream.index != -1 && stream.index != index) {
    return absl::InvalidArgumentError(absl::StrCat("media[", stream.index, "].data ends after ",
                                                   stream.data.size(),
                                                   " bytes, before its last piece"));
  }
  stream.index = static_cast<int>(index);
  const int64_t whole = MediaBytes(stream.media[stream.index]);
  if (static_cast<int64_t>(stream.data.size() + chunk.data().size()) > whole) {
    return absl::InvalidArgumentError(
        absl::StrCat("media[", index, "].data has more than its ", whole, " bytes"));
  }
  if (stream.data.empty()) stream.data.reserve(whole);
  stream.data += chunk.data();
  return absl::OkStatus();
}

}  // namespace facet
