#include <boost/json.hpp>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "model/detokenizer.h"
#include "ops/cli/adapter_flag.h"
#include "ops/cli/command.h"
#include "ops/cli/input_request.h"
#include "ops/cli/json_lines.h"
#include "ops/cli/local_group.h"
#include "router/text/prompt_builder.h"
#include "worker/engine.h"
#include "worker/engine_options.h"

namespace facet {
namespace {

namespace json = boost::json;

// Gathers the replies of all requests; the engine's thread fills it, the main thread waits on it.
class Collector final : public StepSink {
 public:
  struct Answer {
    std::vector<int> tokens;
    v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
    std::string error;
  };

  void OnStep(std::vector<Output> outputs) override ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    for (const Output& output : outputs) {
      Answer& answer = answers_[output.stream_id];
      for (const uint32_t token : output.reply.tokens()) {
        answer.tokens.push_back(static_cast<int>(token));
      }
      answer.finish_reason = output.reply.finish_reason();
      answer.error = output.reply.error();
    }
  }

  Answer BlockingTake(uint64_t stream_id) ABSL_LOCKS_EXCLUDED(mutex_) {
    const auto finished = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      const auto found = answers_.find(stream_id);
      return found != answers_.end() &&
             found->second.finish_reason != v1::FINISH_REASON_UNSPECIFIED;
    };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&finished));
    Answer answer = std::move(answers_[stream_id]);
    answers_.erase(stream_id);
    return answer;
  }

 private:
  absl::Mutex mutex_;
  absl::flat_hash_map<uint64_t, Answer> answers_ ABSL_GUARDED_BY(mutex_);
};

absl::string_view Name(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_DEADLINE:
      return "deadline";
    default:
      return "error";
  }
}

// Keeps a window of requests in the engine and prints the answers in the order of the lines.
class Generator {
 public:
  // `adapter`: the name of the one that all requests use; empty: none.
  Generator(LoadedModel* model, std::shared_ptr<const ServedModel> served, Engine* engine,
            std::string adapter)
      : model_(*model),
        served_(std::move(served)),
        engine_(*engine),
        adapter_(std::move(adapter)),
        collector_(std::make_shared<Collector>()) {}

  absl::Status Add(const json::object& line) {
    ASSIGN_OR_RETURN(GenerationRequest request, ParseInputRequest(line));
    RETURN_IF_ERROR(DecodeMediaOf(request, served_->media));
    ASSIGN_OR_RETURN(std::vector<BuiltChoice> choices,
                     BuildChoices(*served_, request, [this] { return random_(); }));
    if (choices[0].media != nullptr) PutMediaData(*choices[0].media, choices[0].request);
    choices[0].request.set_adapter(adapter_);
    if (static_cast<int>(pending_.size()) >= engine_.options().running_requests_max) {
      RETURN_IF_ERROR(PrintNext());
    }
    RETURN_IF_ERROR(engine_.Submit(choices[0].request, collector_, next_id_));
    pending_.push_back({next_id_++, request.stop});
    return absl::OkStatus();
  }

  absl::Status PrintNext() {
    const Pending pending = std::move(pending_.front());
    pending_.pop_front();
    const Collector::Answer answer = collector_->BlockingTake(pending.stream_id);
    if (!answer.error.empty()) return absl::InternalError(answer.error);
    Detokenizer detokenizer(model_.vocabulary, /*skip_special=*/true);
    std::string text;
    for (const int token : answer.tokens) text += detokenizer.Add(token);
    text += detokenizer.Finish();
    absl::string_view reason = Name(answer.finish_reason);
    for (const std::string& stop : pending.stop) {
      if (const size_t at = text.find(stop); at != std::string::npos) {
        text.resize(at);
        reason = "stop";
      }
    }
    PrintLine({{"tokens", json::value_from(answer.tokens)},
               {"text", text},
               {"finish_reason", std::string(reason)}});
    return absl::OkStatus();
  }

  bool done() const { return pending_.empty(); }

 private:
  struct Pending {
    uint64_t stream_id;
    std::vector<std::string> stop;
  };

  LoadedModel& model_;
  const std::shared_ptr<const ServedModel> served_;  // shared with nobody else here
  Engine& engine_;
  const std::string adapter_;
  const std::shared_ptr<Collector> collector_;  // shared with the engine's requests
  absl::BitGen random_;
  uint64_t next_id_ = 0;
  std::deque<Pending> pending_;
};

absl::Status Run(const std::vector<absl::string_view>&) {
  ASSIGN_OR_RETURN(LocalModel local, LoadLocalModel());
  LoadedModel& model = local.model;
  ASSIGN_OR_RETURN(auto served, DescribeLocally(model));
  ASSIGN_OR_RETURN(const auto adapter, BlockingLoadAdapterFromFlag(model));
  Engine engine(EngineOptionsFor(model), PartsOf(model));
  engine.Start();
  Generator generator(&model, std::move(served), &engine, adapter == nullptr ? "" : adapter->name);
  RETURN_IF_ERROR(ForEachInputLine(
      [&](const json::object& line) { return InWordsOfLine(line, generator.Add(line)); }));
  while (!generator.done()) RETURN_IF_ERROR(generator.PrintNext());
  return absl::OkStatus();
}

}  // namespace

const Command kGenerateCommand = {
    "generate", "prompts in, answers out, without a server",
    "facet generate --model=PATH [--adapter=PATH] [--tp=1]: JSON lines on stdin, each "
    "{\"tokens\":[...]}, "
    "{\"text\":\"...\"} "
    "or\n"
    "an OpenAI chat body (pictures, sounds and videos as data: URLs), with sampling fields "
    "(temperature, top_p, top_k, min_p, seed, "
    "penalties,\n"
    "stop, max_tokens, ignore_eos). Greedy unless a temperature is given. Gives a line\n"
    "  {\"tokens\":[...],\"text\":\"...\",\"finish_reason\":\"stop\"}\n"
    "for each, in order; up to 64 run together.\n\n"
    "  echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}' | facet generate "
    "--model=facet-nano.gguf",
    Run};

}  // namespace facet
