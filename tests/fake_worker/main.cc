#include <cstdio>
#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/signals.h"
#include "tests/fake_worker/fake_worker.h"
#include "tests/fake_worker/small_model.h"

ABSL_FLAG(int, port, 0, "gRPC port; 0 lets the kernel pick one.");
ABSL_FLAG(std::string, answer, "Hello, world.", "What every request is answered, repeated.");

namespace {

constexpr char kUsage[] = R"(A worker without a model, for measuring the router: repeats one text up
to a request's tokens_max.

  fake_worker --port=9381 --answer="Hello, world. "

Prints {"port":N} when it listens.)";

facet::testing::FakeWorker::Answer Repeat(const std::vector<uint32_t>& text,
                                          const facet::v1::GenerateRequest& request) {
  facet::testing::FakeWorker::Answer answer;
  for (uint32_t i = 0; i < request.tokens_max(); ++i) {
    answer.tokens.push_back(text[i % text.size()]);
  }
  answer.finish_reason = facet::v1::FINISH_REASON_LENGTH;
  return answer;
}

}  // namespace

int main(int argc, char** argv) {
  facet::BlockTerminationSignals();
  facet::ParseFlags(argc, argv, kUsage);
  facet::StartLog("fake_worker");
  const std::vector<uint32_t> text = facet::testing::SmallIds(absl::GetFlag(FLAGS_answer));
  if (text.empty()) {
    std::fprintf(stderr, "ERROR: --answer is empty\n");
    return 1;
  }
  facet::testing::FakeWorker::Options options;
  options.address = absl::StrCat("127.0.0.1:", absl::GetFlag(FLAGS_port));
  options.description = facet::testing::SmallDescription();
  options.answer = [&](const facet::v1::GenerateRequest& request) { return Repeat(text, request); };
  const auto worker = facet::testing::FakeWorker::Start(options);
  if (!worker.ok()) {
    std::fprintf(stderr, "ERROR: %s\n", std::string(worker.status().message()).c_str());
    return 1;
  }
  std::printf("{\"port\":%d}\n", (*worker)->port());
  std::fflush(stdout);
  facet::WaitForTermination();
  return 0;
}
