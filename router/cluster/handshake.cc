#include "router/cluster/handshake.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "proto/page_key.h"
#include "proto/protocol_version.h"

namespace facet {

std::optional<WorkerRefusal> CheckWorker(const v1::DescribeReply& description,
                                         const ServedModel* model) {
  // First, since all else may mean something else in another version.
  if (description.protocol_version() != kProtocolVersion) {
    return WorkerRefusal{"protocol_differs",
                         absl::StrCat("it speaks version ", description.protocol_version(),
                                      " of the protocol (its release: ", description.version(),
                                      "), this router version ", kProtocolVersion)};
  }
  if (description.page_key_version() != kPageKeyVersion) {
    return WorkerRefusal{
        "page_key_differs",
        absl::StrCat("its page keys are of version ", description.page_key_version(),
                     ", this router's of version ", kPageKeyVersion)};
  }
  if (model == nullptr) return std::nullopt;
  if (description.model_digest() != model->digest) {
    return WorkerRefusal{"model_differs",
                         absl::StrCat("it serves ", description.model_name(), " with digest ",
                                      absl::BytesToHexString(description.model_digest()),
                                      ", but this router serves ", model->name, " with digest ",
                                      absl::BytesToHexString(model->digest))};
  }
  if (description.tokenizer_digest() != model->tokenizer_digest) {
    return WorkerRefusal{
        "tokenizer_differs",
        absl::StrCat("its tokenizer has digest ",
                     absl::BytesToHexString(description.tokenizer_digest()), ", this router's ",
                     absl::BytesToHexString(model->tokenizer_digest))};
  }
  if (description.page_tokens() != model->page_tokens) {
    return WorkerRefusal{"page_format_differs",
                         absl::StrCat("its pages have ", description.page_tokens(),
                                      " tokens, this router's ", model->page_tokens)};
  }
  if (description.context_tokens_max() < model->context_tokens_max) {
    return WorkerRefusal{
        "context_too_small",
        absl::StrCat("its context has ", description.context_tokens_max(),
                     " tokens, but this router promises ", model->context_tokens_max)};
  }
  return std::nullopt;
}

}  // namespace facet
