#include "router/text_endpoints.h"

#include <boost/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/detokenizer.h"
#include "router/api_error.h"
#include "router/json_fields.h"
#include "router/messages_request.h"
#include "router/openai_request.h"
#include "router/prompt_builder.h"

namespace facet {
namespace {

namespace json = boost::json;

// The served model, if it is the one of this name.
absl::StatusOr<std::shared_ptr<const ServedModel>> FindModel(const WorkerPool& pool,
                                                             const std::string& name) {
  std::shared_ptr<const ServedModel> model = pool.model();
  if (model == nullptr) return absl::UnavailableError("No worker is ready; try again later.");
  RETURN_IF_ERROR(CheckModelName(*model, name));
  return model;
}

}  // namespace

absl::StatusOr<json::value> Tokenize(const WorkerPool& pool, absl::string_view body) {
  ASSIGN_OR_RETURN(const TokenizeRequest request, ParseTokenizeRequest(body));
  ASSIGN_OR_RETURN(const auto model, FindModel(pool, request.model));
  ASSIGN_OR_RETURN(const BuiltPrompt prompt,
                   BuildPrompt(*model, request.prompt, request.add_special_tokens));
  json::object answer{{"count", prompt.tokens.size()},
                      {"max_model_len", model->context_tokens_max},
                      {"tokens", json::array(prompt.tokens.begin(), prompt.tokens.end())},
                      {"token_strs", nullptr}};
  if (request.return_token_strs) {
    json::array pieces;
    for (const int id : prompt.tokens) pieces.push_back(JsonText(model->vocabulary->piece(id)));
    answer["token_strs"] = std::move(pieces);
  }
  return answer;
}

absl::StatusOr<json::value> Detokenize(const WorkerPool& pool, absl::string_view body) {
  ASSIGN_OR_RETURN(const DetokenizeRequest request, ParseDetokenizeRequest(body));
  ASSIGN_OR_RETURN(const auto model, FindModel(pool, request.model));
  Detokenizer detokenizer(model->vocabulary, /*skip_special=*/false);
  std::string text;
  for (const int id : request.tokens) {
    if (id >= model->vocabulary->size()) {
      return InvalidParam(
          "tokens", absl::StrCat("`tokens` has the token id ", id, ", but the model has ids below ",
                                 model->vocabulary->size(), "."));
    }
    text += detokenizer.Add(id);
  }
  text += detokenizer.Finish();
  return json::object{{"prompt", JsonText(text)}};
}

absl::StatusOr<json::value> TokenizerInfo(const WorkerPool& pool) {
  ASSIGN_OR_RETURN(const auto model, FindModel(pool, /*name=*/""));
  const Vocabulary& vocabulary = *model->vocabulary;
  const auto piece = [&](const std::optional<int>& id) -> json::value {
    return id ? json::value(JsonText(vocabulary.piece(*id))) : nullptr;
  };
  const Vocabulary::Roles& roles = vocabulary.roles();
  return json::object{{"tokenizer_class", "GemmaTokenizer"},
                      {"model_max_length", model->context_tokens_max},
                      {"bos_token", piece(roles.bos)},
                      {"eos_token", piece(roles.eos)},
                      {"pad_token", piece(roles.pad)},
                      {"unk_token", piece(roles.unknown)},
                      {"chat_template", JsonText(vocabulary.chat_template())}};
}

absl::StatusOr<json::value> CountTokens(const WorkerPool& pool, absl::string_view body) {
  ASSIGN_OR_RETURN(const TokenizeRequest request, ParseCountTokensRequest(body));
  ASSIGN_OR_RETURN(const auto model, FindModel(pool, request.model));
  ASSIGN_OR_RETURN(const BuiltPrompt prompt, BuildPrompt(*model, request.prompt));
  return json::object{{"input_tokens", prompt.tokens.size()}};
}

}  // namespace facet
