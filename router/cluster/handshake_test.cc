#include "router/cluster/handshake.h"

#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/page_key.h"
#include "proto/protocol_version.h"

namespace facet {
namespace {

using ::testing::HasSubstr;

v1::DescribeReply Description() {
  v1::DescribeReply description;
  description.set_model_name("small");
  description.set_model_digest("one");
  description.set_tokenizer_digest("ids");
  description.set_page_tokens(64);
  description.set_context_tokens_max(4096);
  description.set_protocol_version(kProtocolVersion);
  description.set_page_key_version(kPageKeyVersion);
  description.set_version("1.2.3");
  return description;
}

ServedModel Model() {
  ServedModel model;
  model.name = "small";
  model.digest = "one";
  model.tokenizer_digest = "ids";
  model.page_tokens = 64;
  model.context_tokens_max = 4096;
  return model;
}

// Given a worker that fits, or one with a longer context, expect no refusal.
TEST(HandshakeTest, FittingWorkerIsTaken) {
  const ServedModel model = Model();
  v1::DescribeReply description = Description();
  EXPECT_FALSE(CheckWorker(description, &model).has_value());
  EXPECT_FALSE(CheckWorker(description, nullptr).has_value());
  description.set_context_tokens_max(8192);
  EXPECT_FALSE(CheckWorker(description, &model).has_value());
}

// Given one that differs in a single thing, expect the reason and a message with both values; what
// the first worker may not differ in either is marked.
TEST(HandshakeTest, EachDifferenceHasItsReason) {
  struct Case {
    std::function<void(v1::DescribeReply&)> change;
    const char* reason;
    const char* message;
    bool of_the_first_too;
  };
  const Case kCases[] = {
      {[](v1::DescribeReply& d) { d.set_protocol_version(kProtocolVersion + 1); },
       "protocol_differs", "version 2 of the protocol (its release: 1.2.3)", true},
      {[](v1::DescribeReply& d) { d.clear_protocol_version(); }, "protocol_differs", "version 0",
       true},
      {[](v1::DescribeReply& d) { d.set_page_key_version(kPageKeyVersion + 1); },
       "page_key_differs", "of version 2", true},
      {[](v1::DescribeReply& d) { d.set_model_digest("two"); }, "model_differs", "74776f", false},
      {[](v1::DescribeReply& d) { d.set_tokenizer_digest("words"); }, "tokenizer_differs",
       "776f726473", false},
      {[](v1::DescribeReply& d) { d.set_page_tokens(128); }, "page_format_differs", "128 tokens",
       false},
      {[](v1::DescribeReply& d) { d.set_context_tokens_max(4095); }, "context_too_small", "4095",
       false},
  };
  const ServedModel model = Model();
  for (const Case& c : kCases) {
    v1::DescribeReply description = Description();
    c.change(description);
    const std::optional<WorkerRefusal> refusal = CheckWorker(description, &model);
    ASSERT_TRUE(refusal.has_value()) << c.reason;
    EXPECT_STREQ(refusal->reason, c.reason);
    EXPECT_THAT(refusal->message, HasSubstr(c.message));
    EXPECT_EQ(CheckWorker(description, nullptr).has_value(), c.of_the_first_too) << c.reason;
  }
}

// Given a worker of another version and another model, expect the version named: what the rest
// means is not known then.
TEST(HandshakeTest, VersionComesFirst) {
  const ServedModel model = Model();
  v1::DescribeReply description = Description();
  description.set_protocol_version(7);
  description.set_model_digest("two");
  EXPECT_STREQ(CheckWorker(description, &model)->reason, "protocol_differs");
}

}  // namespace
}  // namespace facet
