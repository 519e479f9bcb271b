#include <boost/json.hpp>
#include <cmath>
#include <memory>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "base/status_macros.h"
#include "ops/cli/adapter_flag.h"
#include "ops/cli/command.h"
#include "ops/cli/input_request.h"
#include "ops/cli/json_lines.h"
#include "ops/cli/local_group.h"
#include "router/text/prompt_builder.h"
#include "worker/scorer.h"

ABSL_FLAG(int, top, 0, "How many of the likeliest continuations to give at each position.");

namespace facet {
namespace {

namespace json = boost::json;

json::object ToJson(const std::vector<int>& tokens, const Score& score, bool with_top) {
  json::array logprobs = {nullptr};
  double total = 0;
  for (size_t i = 1; i < score.logprobs.size(); ++i) {
    logprobs.push_back(score.logprobs[i]);
    total -= score.logprobs[i];
  }
  json::object line = {{"tokens", json::value_from(tokens)}, {"logprobs", std::move(logprobs)}};
  if (with_top) {
    json::array positions;
    for (const std::vector<TokenLogprob>& best : score.top) {
      json::array entries;
      for (const TokenLogprob& entry : best) entries.push_back({entry.id, entry.logprob});
      positions.push_back(std::move(entries));
    }
    line["top"] = std::move(positions);
  }
  line["nll"] = total;
  return line;
}

std::vector<MediaItem> ItemsOf(const LoadedMedia* media, const std::vector<int>& places) {
  std::vector<MediaItem> items;
  if (media == nullptr) return items;
  for (const MediaTensor* tensor : media->Tensors()) {
    MediaItem& item = items.emplace_back(MediaItemOf(tensor->head));
    item.first_token = places[items.size() - 1];
    item.data = tensor->data;
  }
  return items;
}

absl::Status Run(const std::vector<absl::string_view>&) {
  const int top = absl::GetFlag(FLAGS_top);
  if (top < 0) return absl::InvalidArgumentError("--top is negative");
  ASSIGN_OR_RETURN(LocalModel local, LoadLocalModel());
  LoadedModel& model = local.model;
  ASSIGN_OR_RETURN(const auto served, DescribeLocally(model));
  ASSIGN_OR_RETURN(const auto adapter, BlockingLoadAdapterFromFlag(model));
  const auto score_line = [&](const json::object& line) -> absl::Status {
    ASSIGN_OR_RETURN(GenerationRequest request, ParseInputRequest(line));
    RETURN_IF_ERROR(DecodeMediaOf(request, served->media));
    const LoadedMedia* const media = request.loaded_media.get();
    ASSIGN_OR_RETURN(const BuiltPrompt prompt, BuildPrompt(*served, request.prompts[0], media));
    ASSIGN_OR_RETURN(
        const Score score,
        BlockingScore(*model.runner, *model.cache, model.config().vocab_size, prompt.tokens, top,
                      ItemsOf(media, prompt.media_places), adapter.get()));
    PrintLine(ToJson(prompt.tokens, score, top > 0));
    return absl::OkStatus();
  };
  return ForEachInputLine(
      [&](const json::object& line) { return InWordsOfLine(line, score_line(line)); });
}

}  // namespace

const Command kScoreCommand = {
    "score", "how likely each token of a text is",
    "facet score --model=PATH [--adapter=PATH] [--tp=1] [--top=K]: JSON lines on stdin, each "
    "{\"tokens\":[...]},\n"
    "{\"text\":\"...\"} or an OpenAI chat body, with pictures, sounds and videos as data: URLs.\n"
    "Nothing is generated. Gives a line\n"
    "  {\"tokens\":[...],\"logprobs\":[null,...],\"top\":[[[id,logprob],...],...],\"nll\":x}\n"
    "logprobs[i] is the natural log probability of token i given those before it, top[i] the K\n"
    "best continuations after token i, nll the negative sum of logprobs.\n\n"
    "  echo '{\"text\":\"Hello there\"}' | facet score --model=facet-nano.gguf --top=3",
    Run};

}  // namespace facet
