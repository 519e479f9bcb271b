#ifndef FACET_ROUTER_TEXT_SERVED_MODEL_H_
#define FACET_ROUTER_TEXT_SERVED_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/grammar.h"
#include "model/tokenizer.h"
#include "model/vocabulary.h"
#include "proto/worker.pb.h"
#include "router/text/token_cache.h"

namespace facet {

// What the router needs of the model, all of it from a worker's Describe. Immutable but for the
// cache, hence safe to use from any thread. Shared by the worker pool and the requests in flight.
struct ServedModel {
  std::string name;
  std::string digest;
  std::string tokenizer_digest;
  int64_t created_s = 0;  // When the router learned of it; /v1/models tells it.
  std::shared_ptr<const Vocabulary> vocabulary;  // Shared with the tokenizer and all streams.
  std::unique_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<TokenCache> token_cache;          // Over it, for prompts.
  std::unique_ptr<GrammarChecker> grammar_checker;  // Null in a build without grammars.
  uint32_t context_tokens_max = 0;
  uint32_t page_tokens = 0;
  uint32_t window_tokens = 1024;  // Of the sliding layers.
  v1::MediaSupport media;         // What may stand in a prompt beside text.
  // From the model's general.sampling.*, else Gemma's own.
  float temperature = 1.0f;
  uint32_t top_k = 64;
  float top_p = 0.95f;
};

// INVALID_ARGUMENT names what is wrong with the description. Takes some 100 ms for a large
// vocabulary.
absl::StatusOr<std::shared_ptr<const ServedModel>> MakeServedModel(
    const v1::DescribeReply& description, int64_t now_s);

}  // namespace facet

#endif  // FACET_ROUTER_TEXT_SERVED_MODEL_H_
