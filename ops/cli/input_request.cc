#include "ops/cli/input_request.h"

#include <boost/json.hpp>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "router/api/openai_request.h"
#include "worker/describe.h"
#include "worker/engine_options.h"

namespace facet {
namespace {

namespace json = boost::json;

// `tokens` are ids and `text` is text, though a completion's prompt may be either.
absl::Status CheckPrompt(absl::string_view name, const json::value& prompt) {
  if (name == "text") {
    return prompt.is_string() ? absl::OkStatus()
                              : absl::InvalidArgumentError("`text` must be a string");
  }
  if (!prompt.is_array()) return absl::InvalidArgumentError("`tokens` must be a list of token ids");
  for (size_t i = 0; i < prompt.get_array().size(); ++i) {
    if (!prompt.get_array()[i].is_number()) {
      return absl::InvalidArgumentError(absl::StrCat("`tokens[", i, "]` must be a token id"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<GenerationRequest> ParseByKind(const json::object& line) {
  if (line.contains("messages")) return ParseChatRequest(line);
  json::object body = line;
  for (const char* name : {"tokens", "text"}) {
    if (const json::value* prompt = body.if_contains(name)) {
      RETURN_IF_ERROR(CheckPrompt(name, *prompt));
      body["prompt"] = json::value(*prompt);
      return ParseCompletionRequest(json::serialize(body));
    }
  }
  return absl::InvalidArgumentError("has none of `tokens`, `text` and `messages`");
}

}  // namespace

absl::StatusOr<GenerationRequest> ParseInputRequest(const json::object& line) {
  ASSIGN_OR_RETURN(GenerationRequest request, ParseByKind(line));
  if (!request.sampling.temperature.has_value()) request.sampling.temperature = 0.0f;
  if (request.prompts.size() != 1 || request.choices_per_prompt != 1) {
    return absl::InvalidArgumentError("one line asks for one answer");
  }
  // A completion's default is short; here the model says when it is done.
  if (!line.contains("max_tokens") && !line.contains("max_completion_tokens")) {
    request.tokens_max.reset();
  }
  return request;
}

absl::Status DecodeMediaOf(GenerationRequest& request, const v1::MediaSupport& support) {
  if (request.media.empty()) return absl::OkStatus();
  auto loaded = std::make_shared<LoadedMedia>();
  for (MediaPart& part : request.media) {
    if (!part.url.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("`", part.param, "` must be a data: URL: nothing is fetched here"));
    }
    ASSIGN_OR_RETURN(loaded->parts.emplace_back(), DecodeMedia(std::move(part), support));
  }
  request.media.clear();
  request.loaded_media = std::move(loaded);
  return absl::OkStatus();
}

void PutMediaData(const LoadedMedia& media, v1::GenerateRequest& request) {
  const std::vector<const MediaTensor*> tensors = media.Tensors();
  for (int i = 0; i < request.media_size(); ++i) {
    request.mutable_media(i)->set_data(tensors[i]->data);
  }
}

absl::Status InWordsOfLine(const json::object& line, const absl::Status& status) {
  const char* name = line.contains("tokens") ? "tokens" : "text";
  return absl::Status(
      status.code(),
      absl::StrReplaceAll(status.message(), {{"`prompt`", absl::StrCat("`", name, "`")},
                                             {"`prompt[", absl::StrCat("`", name, "[")}}));
}

absl::StatusOr<std::shared_ptr<const ServedModel>> DescribeLocally(const LoadedModel& model) {
  return MakeServedModel(DescribeWorker(model, EngineOptionsFor(model), ""), /*now_s=*/0);
}

}  // namespace facet
