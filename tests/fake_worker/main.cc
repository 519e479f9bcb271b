#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/signals.h"
#include "tests/fake_worker/fake_worker.h"
#include "tests/fake_worker/small_model.h"

ABSL_FLAG(int, port, 0, "gRPC port; 0 lets the kernel pick one.");
ABSL_FLAG(std::string, answer, "Hello, world.", "What every request is answered.");
ABSL_FLAG(std::string, answer_after_tool, "", "The same after a tool's result; empty: --answer.");
ABSL_FLAG(uint64_t, hold_after, 0, "Tokens after which every answer stands still; 0: never.");
ABSL_FLAG(int, token_ms, 0, "Milliseconds from token to token of an answer; 0: all at once.");
ABSL_FLAG(uint32_t, running_requests_max, 64, "Requests that are answered at the same time.");
ABSL_FLAG(bool, once, false, "Answer once and stop, rather than repeat up to tokens_max.");

namespace {

constexpr char kUsage[] =
    R"(A worker without a model, for measuring the router and for tests of clients: repeats one
text up to a request's tokens_max, or says what it was told. Markers in it are ids.

  fake_worker --port=9381 --answer="Hello, world. "
  fake_worker --once --answer='<|tool_call>call:f{}<tool_call|>' --answer_after_tool=Done.

Prints {"port":N} when it listens.)";

using facet::testing::FakeWorker;
using facet::testing::SmallIds;

FakeWorker::Answer Repeat(const std::vector<uint32_t>& text, uint32_t tokens) {
  FakeWorker::Answer answer;
  for (uint32_t i = 0; i < tokens; ++i) answer.tokens.push_back(text[i % text.size()]);
  answer.finish_reason = facet::v1::FINISH_REASON_LENGTH;
  return answer;
}

FakeWorker::Answer AnswerTo(const facet::v1::GenerateRequest& request) {
  const auto& prompt = request.prompt_tokens();
  const uint32_t result_end = SmallIds("<tool_response|>").front();
  const bool after_tool = std::find(prompt.begin(), prompt.end(), result_end) != prompt.end() &&
                          !absl::GetFlag(FLAGS_answer_after_tool).empty();
  const std::vector<uint32_t> text =
      SmallIds(after_tool ? absl::GetFlag(FLAGS_answer_after_tool) : absl::GetFlag(FLAGS_answer));
  if (!absl::GetFlag(FLAGS_once) || request.tokens_max() < text.size()) {
    return Repeat(text, request.tokens_max());
  }
  return {text};
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
  options.description = facet::testing::SmallDescription();
  options.description.set_running_requests_max(absl::GetFlag(FLAGS_running_requests_max));
  options.token_interval = absl::Milliseconds(absl::GetFlag(FLAGS_token_ms));
  options.answer = AnswerTo;
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
