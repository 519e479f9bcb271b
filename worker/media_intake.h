#ifndef FACET_WORKER_MEDIA_INTAKE_H_
#define FACET_WORKER_MEDIA_INTAKE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "proto/worker.pb.h"

namespace facet {

// Puts together the pictures and sounds that a router sends in pieces after it was asked for them
// (proto/worker.proto: MediaChunk), and checks that they are what the request said. One for each
// session; not thread-safe. Memory: for each stream one item that is not whole yet, no larger than
// its request says.
class MediaIntake {
 public:
  // A request whose media may lack data. REQUIRES: CheckMedia says that they are well.
  void Expect(uint64_t stream_id, const v1::GenerateRequest& request);
  // The stream has ended.
  void Forget(uint64_t stream_id) { streams_.erase(stream_id); }

  struct Item {
    int index;                         // in GenerateRequest.media
    absl::StatusOr<std::string> data;  // INVALID_ARGUMENT names the field; then the stream must end
  };
  // Nothing while the item is not whole, and for a stream that is not known.
  std::optional<Item> Add(const v1::SessionRequest::MediaChunk& chunk);

 private:
  struct Stream {
    google::protobuf::RepeatedPtrField<v1::Media> media;  // without data
    int index = -1;                                       // of the item that comes; -1: none
    std::string data;                                     // what came of it
  };
  static absl::Status Append(const v1::SessionRequest::MediaChunk& chunk, Stream& stream);

  std::map<uint64_t, Stream> streams_;
};

}  // namespace facet

#endif  // FACET_WORKER_MEDIA_INTAKE_H_
