#include "router/text/prompt_builder.h"

#include <boost/json/object.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "model/chat_template.h"
#include "model/detokenizer.h"
#include "proto/request_keys.h"
#include "router/api/api_error.h"
#include "router/api/model_name.h"
#include "router/api/structured_output.h"
#include "router/text/media_prompt.h"

namespace facet {
namespace {

// The field of `message` that stands first in it, as RenderChat and we write them:
// "messages[2].content is ..." or "`messages[2].content` is ...".
std::string FieldOf(absl::string_view message) {
  const size_t begin = message.find_first_not_of('`');
  if (begin == message.npos) return "";
  const absl::string_view rest = message.substr(begin);
  const std::string field(rest.substr(0, rest.find_first_of(" `:")));
  return absl::StartsWith(field, "messages") || absl::StartsWith(field, "tools") ? field
                                                                                 : "messages";
}

absl::Status CheckIds(const ServedModel& model, const std::vector<int>& ids) {
  for (const int id : ids) {
    if (id < 0 || id >= model.vocabulary->size()) {
      return InvalidParam(
          "prompt", absl::StrCat("`prompt` has the token id ", id, ", but the model has ids below ",
                                 model.vocabulary->size(), "."));
    }
  }
  if (ids.empty()) return InvalidParam("prompt", "`prompt` has no tokens.");
  return absl::OkStatus();
}

// Text to ids, the placeholders of `media` written out first.
absl::StatusOr<std::vector<int>> Encode(const ServedModel& model, absl::string_view text,
                                        const LoadedMedia* media, bool add_special) {
  Tokenizer::Options options;
  options.add_special = add_special;
  if (media == nullptr) return model.token_cache->Encode(text, options);
  ASSIGN_OR_RETURN(const std::string expanded, ExpandPlaceholders(text, media->parts));
  return model.token_cache->Encode(expanded, options);
}

absl::StatusOr<BuiltPrompt> BuildChat(const ServedModel& model, const boost::json::object& chat,
                                      const LoadedMedia* media) {
  const absl::StatusOr<std::string> text = RenderChat(chat);
  if (!text.ok()) {
    return InvalidParam(FieldOf(text.status().message()), text.status().message());
  }
  BuiltPrompt prompt;
  // The template writes <bos> itself.
  ASSIGN_OR_RETURN(prompt.tokens, Encode(model, *text, media, /*add_special=*/false));
  prompt.starts_in_channel = absl::EndsWith(*text, "<|channel>thought\n");
  return prompt;
}

absl::StatusOr<BuiltPrompt> BuildTokens(const ServedModel& model, const Prompt& prompt,
                                        const LoadedMedia* media, bool add_special) {
  if (const auto* chat = std::get_if<ChatPrompt>(&prompt)) return BuildChat(model, **chat, media);
  BuiltPrompt built;
  if (const auto* text = std::get_if<std::string>(&prompt)) {
    ASSIGN_OR_RETURN(built.tokens, Encode(model, *text, media, add_special));
  } else {
    built.tokens = std::get<std::vector<int>>(prompt);
    RETURN_IF_ERROR(CheckIds(model, built.tokens));
  }
  return built;
}

// The request's media by their digests; their bytes follow only to a worker that asks for them.
void AddMedia(const LoadedMedia& media, const std::vector<int>& places,
              v1::GenerateRequest& request) {
  const std::vector<const MediaTensor*> tensors = media.Tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    v1::Media& added = *request.add_media();
    added = tensors[i]->head;
    added.set_first_token(places[i]);
  }
}

// What the context leaves for the answer.
absl::StatusOr<uint32_t> AnswerTokensMax(const ServedModel& model, const GenerationRequest& request,
                                         size_t prompt_tokens) {
  const size_t context = model.context_tokens_max;
  const size_t wanted = request.tokens_max.value_or(1);
  if (prompt_tokens + wanted > context) {
    return InvalidParam(
        request.parse_chat ? "messages" : "prompt",
        absl::StrCat("This model's context is ", context, " tokens, but the prompt has ",
                     prompt_tokens, " and the answer was asked to have up to ", wanted, "."),
        "context_length_exceeded");
  }
  return static_cast<uint32_t>(request.tokens_max.value_or(context - prompt_tokens));
}

absl::StatusOr<v1::Sampling> BuildSampling(const ServedModel& model,
                                           const SamplingOptions& options) {
  v1::Sampling sampling;
  sampling.set_temperature(options.temperature.value_or(model.temperature));
  sampling.set_top_k(options.top_k.value_or(model.top_k));
  sampling.set_top_p(options.top_p.value_or(model.top_p));
  sampling.set_min_p(options.min_p);
  sampling.set_presence_penalty(options.presence_penalty);
  sampling.set_frequency_penalty(options.frequency_penalty);
  sampling.set_repetition_penalty(options.repetition_penalty);
  for (const auto& [id, bias] : options.logit_bias) {
    if (id >= static_cast<uint32_t>(model.vocabulary->size())) {
      return InvalidParam("logit_bias", absl::StrCat("`logit_bias` has the token id ", id,
                                                     ", but the model has ids below ",
                                                     model.vocabulary->size(), "."));
    }
    (*sampling.mutable_logit_bias())[id] = bias;
  }
  sampling.set_want_logprobs(options.want_logprobs);
  sampling.set_top_logprobs(options.top_logprobs);
  return sampling;
}

std::string TextOf(const ServedModel& model, const Prompt& prompt, const BuiltPrompt& built) {
  if (const auto* text = std::get_if<std::string>(&prompt)) return *text;
  Detokenizer detokenizer(model.vocabulary, /*skip_special=*/true);
  std::string text;
  for (const int id : built.tokens) text += detokenizer.Add(id);
  return text + detokenizer.Finish();
}

}  // namespace

absl::StatusOr<BuiltPrompt> BuildPrompt(const ServedModel& model, const Prompt& prompt,
                                        const LoadedMedia* media, bool add_special) {
  const char* param = std::holds_alternative<ChatPrompt>(prompt) ? "messages" : "prompt";
  absl::StatusOr<BuiltPrompt> built = BuildTokens(model, prompt, media, add_special);
  if (built.ok() && media != nullptr) {
    absl::StatusOr<std::vector<int>> places =
        FindSoftTokens(*model.vocabulary, built->tokens, media->parts);
    if (!places.ok()) {
      built = places.status();
    } else {
      built->media_places = *std::move(places);
    }
  }
  if (built.ok() || !ParamOf(built.status()).empty()) return built;
  return InvalidParam(param, absl::StrCat("`", param, "`: ", built.status().message(), "."));
}

absl::StatusOr<std::vector<BuiltChoice>> BuildChoices(const ServedModel& model,
                                                      const GenerationRequest& request,
                                                      const std::function<uint64_t()>& draw_seed) {
  ASSIGN_OR_RETURN(const std::string adapter, AdapterOfModelName(model, request.model));
  if (request.loaded_media != nullptr && request.prompt_logprobs) {
    return InvalidParam("prompt_logprobs",
                        "Log probabilities of a prompt (`prompt_logprobs`, or `echo` with "
                        "`logprobs`) are not given where it has pictures, sounds or videos.",
                        "unsupported_value");
  }
  ASSIGN_OR_RETURN(v1::Sampling sampling, BuildSampling(model, request.sampling));
  sampling.set_seed(request.sampling.seed ? *request.sampling.seed : draw_seed());

  std::vector<BuiltChoice> choices;
  for (const Prompt& prompt : request.prompts) {
    ASSIGN_OR_RETURN(const BuiltPrompt built,
                     BuildPrompt(model, prompt, request.loaded_media.get()));
    ASSIGN_OR_RETURN(const uint32_t tokens_max,
                     AnswerTokensMax(model, request, built.tokens.size()));
    BuiltChoice choice;
    choice.starts_in_channel = built.starts_in_channel;
    if (request.echo) choice.echo = TextOf(model, prompt, built);
    choice.request.mutable_prompt_tokens()->Add(built.tokens.begin(), built.tokens.end());
    *choice.request.mutable_sampling() = sampling;
    if (request.prompt_logprobs) choice.request.set_prompt_logprobs(*request.prompt_logprobs);
    if (!request.ignore_eos) {
      const std::vector<int>& stop = model.vocabulary->stop_ids();
      choice.request.mutable_stop_tokens()->Add(stop.begin(), stop.end());
    }
    ASSIGN_OR_RETURN(*choice.request.mutable_grammar(),
                     BuildGrammar(model, request, prompt, built.starts_in_channel));
    choice.request.set_tokens_max(tokens_max);
    choice.request.set_adapter(adapter);
    choice.request.set_adapter_digest(request.adapter_digest);
    choice.request.set_deadline_ms(request.deadline_ms);
    choice.request.set_request_id(request.request_id);
    choice.request.set_cache_salt(request.cache_salt);
    choice.request.set_priority(-request.priority);
    if (request.loaded_media != nullptr) {
      AddMedia(*request.loaded_media, built.media_places, choice.request);
      choice.media = request.loaded_media;
    }
    choice.page_keys = std::make_shared<const std::vector<PageKey>>(
        RequestPageKeys(choice.request, static_cast<int>(model.page_tokens)));
    for (int i = 0; i < request.choices_per_prompt; ++i) {
      choice.request.mutable_sampling()->set_sample_index(i);
      choices.push_back(choice);
    }
  }
  return choices;
}

}  // namespace facet
