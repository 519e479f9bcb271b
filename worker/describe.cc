#include "worker/describe.h"

#include <cstdint>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/version.h"
#include "model/gguf_writer.h"
#include "model/tokenizer_digest.h"
#include "proto/page_key.h"
#include "proto/protocol_version.h"

namespace facet {
namespace {

// "models/facet-nano.gguf" and "models/facet-nano/" are both facet-nano.
std::string NameOfPath(absl::string_view path) {
  absl::ConsumeSuffix(&path, "/");
  path = path.substr(path.rfind('/') + 1);
  absl::ConsumeSuffix(&path, ".gguf");
  return std::string(path);
}

}  // namespace

v1::DescribeReply DescribeWorker(const LoadedModel& model, const EngineOptions& options,
                                 const std::string& model_name) {
  absl::BitGen random;
  v1::DescribeReply reply;
  reply.set_model_name(model_name.empty() ? NameOfPath(model.file->path()) : model_name);
  reply.set_model_digest(ModelDigest(*model.file));
  reply.set_metadata_gguf(WriteGgufMetadata(model.file->metadata()));
  reply.set_tokenizer_digest(TokenizerDigest(model.file->metadata()));
  reply.set_protocol_version(kProtocolVersion);
  reply.set_page_key_version(kPageKeyVersion);
  reply.set_numerics_class(model.numerics_class());
  reply.set_page_tokens(kPageTokens);
  if (model.host_tier != nullptr) {
    reply.set_full_page_bytes(model.cache->page_bytes(KvPool::kFull));
    reply.set_sliding_page_bytes(model.cache->page_bytes(KvPool::kSliding));
  }
  reply.set_context_tokens_max(options.context_tokens_max);
  reply.set_running_requests_max(options.running_requests_max);
  reply.set_waiting_requests_max(options.waiting_requests_max);
  reply.set_worker_id(absl::StrCat(absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16)));
  reply.set_version(kVersion);
  reply.mutable_media()->set_images(options.media.images);
  reply.mutable_media()->set_sounds(options.media.sounds);
  reply.mutable_media()->set_image_tokens_max(options.media.image_tokens_max);
  return reply;
}

}  // namespace facet
