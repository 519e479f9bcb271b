#include "model/tokenizer_digest.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace facet {
namespace {

Metadata Sample() {
  Metadata metadata;
  metadata.Set("general.name", std::string("one"));
  metadata.Set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
  metadata.Set("tokenizer.chat_template", std::string("{{ messages }}"));
  return metadata;
}

// Given a change of what is no part of the tokenizer, expect the same digest; given one of tokens
// or template, another.
TEST(TokenizerDigestTest, IsOfTheTokenizerAlone) {
  const std::string digest = TokenizerDigest(Sample());
  EXPECT_EQ(digest.size(), 32u);
  Metadata other = Sample();
  other.Set("general.name", std::string("two"));
  EXPECT_EQ(TokenizerDigest(other), digest);
  other.Set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "c"});
  EXPECT_NE(TokenizerDigest(other), digest);
  other = Sample();
  other.Set("tokenizer.chat_template", std::string("{{ message }}"));
  EXPECT_NE(TokenizerDigest(other), digest);
}

}  // namespace
}  // namespace facet
