#ifndef FACET_ROUTER_TEXT_TOKEN_CACHE_H_
#define FACET_ROUTER_TEXT_TOKEN_CACHE_H_

#include <cstddef>
#include <list>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "model/tokenizer.h"

namespace facet {

// Long texts that begin as earlier ones did are not tokenized again: a text is cut into blocks from
// its start, at places that depend on what stands there alone and that no token crosses, and the
// ids of blocks are kept, the least recently used going first. A block is found by its text, not by
// a hash of it, so nobody's prompt can stand in for another's. Safe to use from any thread.
class TokenCache {
 public:
  struct Options {
    size_t bytes_max = size_t{64} << 20;  // Of the texts and ids that are kept. 0: none are.
    size_t block_bytes = 4096;            // Blocks are as short as they can be from here on.
  };

  // `tokenizer` must outlive the cache.
  TokenCache(const Tokenizer* tokenizer, const Options& options)
      : tokenizer_(tokenizer), options_(options) {}
  explicit TokenCache(const Tokenizer* tokenizer) : TokenCache(tokenizer, Options()) {}

  // The same as the tokenizer's.
  std::vector<int> Encode(absl::string_view text, const Tokenizer::Options& options);

  size_t size_bytes() const;

 private:
  struct Block {
    std::string text;
    std::vector<int> ids;
    size_t size_bytes() const;
  };
  using Blocks = std::list<Block>;  // The one that was used last comes first.

  // Appends a block's ids, if it is there.
  bool Find(absl::string_view text, std::vector<int>& ids) ABSL_LOCKS_EXCLUDED(mutex_);
  void Insert(absl::string_view text, const std::vector<int>& ids) ABSL_LOCKS_EXCLUDED(mutex_);

  const Tokenizer* const tokenizer_;
  const Options options_;
  mutable absl::Mutex mutex_;
  Blocks blocks_ ABSL_GUARDED_BY(mutex_);
  // The keys are the blocks' own texts.
  absl::flat_hash_map<absl::string_view, Blocks::iterator> index_ ABSL_GUARDED_BY(mutex_);
  size_t size_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_TEXT_TOKEN_CACHE_H_
