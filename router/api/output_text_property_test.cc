// Any split of any token stream into bursts of 1 to 16 gives the same text, thinking and calls, and
// the same blocks: over recorded conversations and generated outputs, with Gemma's own vocabulary.
// FACET_SPLITS sets how many splits are tried, FACET_SEED which.

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/detokenizer.h"
#include "model/testing/files.h"
#include "model/testing/real_vocabulary.h"
#include "model/tokenizer.h"
#include "model/utf8.h"
#include "router/api/answer_blocks.h"
#include "router/text/output_text.h"

namespace facet {
namespace {

namespace json = boost::json;

constexpr int kSplitsOfAStream = 40;
constexpr int kBurstMax = 16;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t value;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

// All that a client gets of an answer.
struct Answer {
  std::string content, reasoning, calls;
  // Of the blocks: the texts of each kind put together, and the calls.
  std::string block_content, block_reasoning, block_calls;
  std::string raw;  // What the detokenizer gives with markers.
  bool stopped = false;
  int tool_calls = 0;
  int reasoning_tokens = 0;

  bool operator==(const Answer&) const = default;
};

std::string CallText(const std::string& name, const std::string& arguments) {
  return absl::StrCat(name, arguments, "\n");
}

class OutputTextPropertyTest : public ::testing::Test {
 protected:
  // Reads `ids` in bursts of these sizes, as a relay does; what comes of a burst is one delta.
  Answer Read(const std::vector<int>& ids, const OutputText::Options& options,
              const std::vector<size_t>& bursts) {
    OutputText text(vocabulary_, options);
    Detokenizer detokenizer(vocabulary_, /*skip_special=*/false);
    AnswerBlocks blocks;
    Answer answer;
    size_t at = 0;
    for (const size_t size : bursts) {
      RelayDelta delta;
      std::string raw;
      for (size_t i = 0; i < size; ++i, ++at) {
        text.Add(ids[at], delta.text);
        raw += detokenizer.Add(ids[at]);
      }
      const bool last = at == ids.size();
      if (last) {
        text.Finish(delta.text);
        raw += detokenizer.Finish();
        delta.finish_reason = v1::FINISH_REASON_STOP;
      }
      EXPECT_TRUE(IsUtf8(delta.text.content) && IsUtf8(delta.text.reasoning) && IsUtf8(raw));
      answer.raw += raw;
      Collect(delta, answer);
      blocks.Add(delta);
    }
    CollectBlocks(blocks, answer);
    answer.stopped = text.stopped();
    answer.tool_calls = text.tool_call_count();
    answer.reasoning_tokens = text.reasoning_tokens();
    return answer;
  }

  static void Collect(const RelayDelta& delta, Answer& answer) {
    answer.content += delta.text.content;
    answer.reasoning += delta.text.reasoning;
    for (const auto& call : delta.text.tool_calls) {
      answer.calls += CallText(call.name, call.arguments);
    }
  }

  static void CollectBlocks(const AnswerBlocks& blocks, Answer& answer) {
    for (const AnswerBlocks::Block& block : blocks.blocks()) {
      switch (block.kind) {
        case AnswerBlocks::Kind::kText:
          answer.block_content += block.text;
          break;
        case AnswerBlocks::Kind::kThinking:
          answer.block_reasoning += block.text;
          break;
        case AnswerBlocks::Kind::kToolCall:
          answer.block_calls += CallText(block.name, block.text);
          break;
      }
    }
  }

  std::vector<size_t> RandomBursts(size_t count) {
    std::vector<size_t> bursts;
    while (count > 0) {
      bursts.push_back(std::min<size_t>(count, 1 + random_() % kBurstMax));
      count -= bursts.back();
    }
    return bursts;
  }

  OutputText::Options RandomOptions() {
    OutputText::Options options;
    options.parse_chat = random_() % 8 != 0;
    options.parser.starts_in_channel = random_() % 4 == 0;
    options.parser.parse_tool_calls = random_() % 4 != 0;
    if (random_() % 4 == 0) options.stop = {"an", "\n\n", "STOP"};
    return options;
  }

  // What a model may write, well formed and not: markers anywhere, halves of characters, text that
  // looks like markers, tokens of the whole vocabulary.
  std::vector<int> Generated() {
    static const auto& kParts =
        *new std::vector<std::string>{"<|channel>thought\n",
                                      "<|channel>",
                                      "<channel|>",
                                      "<|tool_call>call:f{a:<|\"|>x<|\"|>,b:2}",
                                      "<tool_call|>",
                                      "<|tool_call>",
                                      "<tool_call|><|tool_response>",
                                      "<|\"|>",
                                      "call:g{",
                                      "}",
                                      "a:",
                                      "thought",
                                      "\n",
                                      "Hello, world! ",
                                      "Grüße 世界 ",
                                      "👩‍👩‍👧",
                                      "<|turn>model\n",
                                      "<turn|>",
                                      "1,",
                                      "[",
                                      "]",
                                      "STO",
                                      "STOP",
                                      "an answer\n\n",
                                      "<start_of_image>",
                                      "<pad>"};
    std::vector<int> ids;
    for (int i = random_() % 12; i >= 0; --i) {
      const uint32_t kind = random_() % 8;
      if (kind < 6) {
        const std::vector<int> part = tokenizer_.Encode(kParts[random_() % kParts.size()]);
        ids.insert(ids.end(), part.begin(), part.end());
      } else if (kind == 6) {
        // Bytes, often no character or half of one.
        for (int k = random_() % 5; k >= 0; --k)
          ids.push_back(vocabulary_->byte_id(static_cast<uint8_t>(random_())));
      } else {
        ids.push_back(static_cast<int>(random_() % vocabulary_->size()));
      }
    }
    return ids;
  }

  std::vector<std::vector<int>> Recorded() {
    std::vector<std::vector<int>> streams;
    for (const char* file :
         {"tests/testdata/text/chat.jsonl", "tests/testdata/text/detokenizer.jsonl"}) {
      for (const json::object& line : testing::ReadJsonLines(file)) {
        const json::value* list = line.if_contains("ids");
        if (list == nullptr || list->as_array().empty()) continue;
        streams.push_back(json::value_to<std::vector<int>>(*list));
      }
    }
    return streams;
  }

  // The answer read token by token is what every split must give.
  void CheckSplits(const std::vector<int>& ids) {
    const OutputText::Options options = RandomOptions();
    const Answer expected = Read(ids, options, std::vector<size_t>(ids.size(), 1));
    EXPECT_EQ(expected.block_content, expected.content);
    EXPECT_EQ(expected.block_reasoning, expected.reasoning);
    EXPECT_EQ(expected.block_calls, expected.calls);
    for (int split = 0; split < kSplitsOfAStream; ++split) {
      const std::vector<size_t> bursts = RandomBursts(ids.size());
      if (Read(ids, options, bursts) == expected) continue;
      std::string shown;
      for (const int id : ids) absl::StrAppend(&shown, id, " ");
      absl::StrAppend(&shown, "in bursts of ");
      for (const size_t size : bursts) absl::StrAppend(&shown, size, " ");
      FAIL() << shown;
    }
  }

  const std::shared_ptr<const Vocabulary> vocabulary_ = testing::RealVocabulary();
  const Tokenizer tokenizer_{vocabulary_};
  std::mt19937_64 random_;
};

TEST_F(OutputTextPropertyTest, SplitsChangeNothing) {
  const uint64_t seed = FromEnvironment("FACET_SEED", std::random_device{}());
  const uint64_t wanted = FromEnvironment("FACET_SPLITS", 100'000);
  std::cout << "FACET_SEED=" << seed << " FACET_SPLITS=" << wanted << std::endl;
  random_.seed(seed);
  uint64_t splits = 0;
  size_t recorded = 0;
  const std::vector<std::vector<int>> streams = Recorded();
  ASSERT_GT(streams.size(), 50u);
  for (; splits < wanted && !HasFailure(); splits += kSplitsOfAStream) {
    CheckSplits(recorded < streams.size() ? streams[recorded++] : Generated());
  }
  std::cout << splits << " splits, " << recorded << " recorded streams" << std::endl;
}

}  // namespace
}  // namespace facet
