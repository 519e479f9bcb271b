#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/status_macros.h"
#include "model/gguf_writer.h"
#include "model/model_file.h"
#include "model/tokenizer.h"
#include "model/vocabulary.h"
#include "tests/fake_worker/fake_worker.h"
#include "tests/fake_worker/small_model.h"

ABSL_FLAG(int, port, 0, "gRPC port; 0 lets the kernel pick one.");
ABSL_FLAG(std::string, answer, "Hello, world.", "What every request is answered.");
ABSL_FLAG(std::string, answer_after_tool, "", "The same after a tool's result; empty: --answer.");
ABSL_FLAG(uint64_t, hold_after, 0, "Tokens after which every answer stands still; 0: never.");
ABSL_FLAG(int, token_ms, 0, "Milliseconds from token to token of an answer; 0: all at once.");
ABSL_FLAG(uint32_t, running_requests_max, 64, "Requests that are answered at the same time.");
ABSL_FLAG(int, load_ms, 20, "Milliseconds between two tellings of its load; 0: at each change.");
ABSL_FLAG(std::string, model, "",
          "GGUF file whose vocabulary and template it tells; empty: a small one.");
ABSL_FLAG(uint32_t, context, 4096, "Tokens of a prompt and its answer together, at most.");
ABSL_FLAG(bool, once, false, "Answer once and stop, rather than repeat up to tokens_max.");

namespace {

constexpr char kUsage[] =
    R"(A worker without a model, for measuring the router and for tests of clients: repeats one
text up to a request's tokens_max, or says what it was told. Markers in it are ids.

  fake_worker --port=9381 --answer="Hello, world. "
  fake_worker --once --answer='<|tool_call>call:f{}<tool_call|>' --answer_after_tool=Done.

Prints {"port":N} when it listens.)";

using facet::testing::FakeWorker;

using Ids = std::vector<uint32_t>;

// What it says, in the ids of the model that it tells of.
struct Script {
  Ids answer, answer_after_tool;
  uint32_t result_end = 0;  // Ends a tool's result in a prompt.
  bool once = false;
};

FakeWorker::Answer Repeat(const Ids& text, uint32_t tokens) {
  FakeWorker::Answer answer;
  answer.tokens.reserve(tokens);
  for (uint32_t i = 0; i < tokens; ++i) answer.tokens.push_back(text[i % text.size()]);
  answer.finish_reason = facet::v1::FINISH_REASON_LENGTH;
  return answer;
}

FakeWorker::Answer AnswerTo(const Script& script, const facet::v1::GenerateRequest& request) {
  const auto& prompt = request.prompt_tokens();
  const bool after_tool =
      !script.answer_after_tool.empty() &&
      std::find(prompt.begin(), prompt.end(), script.result_end) != prompt.end();
  const Ids& text = after_tool ? script.answer_after_tool : script.answer;
  if (!script.once || request.tokens_max() < text.size()) return Repeat(text, request.tokens_max());
  return {text};
}

// The small model's, or that of the file that is named.
absl::StatusOr<std::shared_ptr<const facet::Vocabulary>> FillDescription(
    facet::v1::DescribeReply* description) {
  *description = facet::testing::SmallDescription();
  description->set_running_requests_max(absl::GetFlag(FLAGS_running_requests_max));
  description->set_context_tokens_max(absl::GetFlag(FLAGS_context));
  const std::string path = absl::GetFlag(FLAGS_model);
  if (path.empty()) return facet::testing::SmallVocabulary();
  ASSIGN_OR_RETURN(const facet::Metadata metadata, facet::ReadModelMetadata(path));
  description->set_metadata_gguf(facet::WriteGgufMetadata(metadata));
  return facet::Vocabulary::FromMetadata(metadata);
}

}  // namespace

int main(int argc, char** argv) {
  facet::BlockTerminationSignals();
  facet::ParseFlags(argc, argv, kUsage);
  facet::StartLog("fake_worker");
  if (absl::GetFlag(FLAGS_answer).empty()) {
    std::fprintf(stderr, "ERROR: --answer is empty\n");
    return 1;
  }
  FakeWorker::Options options;
  options.address = absl::StrCat("127.0.0.1:", absl::GetFlag(FLAGS_port));
  options.token_interval = absl::Milliseconds(absl::GetFlag(FLAGS_token_ms));
  options.load_interval = absl::Milliseconds(absl::GetFlag(FLAGS_load_ms));
  options.keep_requests = false;
  const auto vocabulary = FillDescription(&options.description);
  if (!vocabulary.ok()) {
    std::fprintf(stderr, "ERROR: %s\n", std::string(vocabulary.status().message()).c_str());
    return 1;
  }
  const facet::Tokenizer tokenizer(*vocabulary);
  const auto ids = [&](absl::string_view text) -> Ids {
    const std::vector<int> encoded = tokenizer.Encode(text);
    return {encoded.begin(), encoded.end()};
  };
  const Script script = {ids(absl::GetFlag(FLAGS_answer)),
                         ids(absl::GetFlag(FLAGS_answer_after_tool)),
                         ids("<tool_response|>").front(), absl::GetFlag(FLAGS_once)};
  options.answer = [&](const auto& request) { return AnswerTo(script, request); };
  const auto worker = FakeWorker::Start(options);
  if (!worker.ok()) {
    std::fprintf(stderr, "ERROR: %s\n", std::string(worker.status().message()).c_str());
    return 1;
  }
  if (const uint64_t tokens = absl::GetFlag(FLAGS_hold_after); tokens > 0) {
    (*worker)->HoldAfter(tokens);
  }
  std::printf("{\"port\":%d}\n", (*worker)->port());
  std::fflush(stdout);
  facet::WaitForTermination();
  return 0;
}
