#include "router/http/text_endpoints.h"

#include <boost/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/detokenizer.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/api/messages_request.h"
#include "router/api/openai_request.h"
#include "router/text/prompt_builder.h"

namespace facet {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

asio::awaitable<absl::StatusOr<BuiltPrompt>> Build(const WorkerPool& pool, MediaLoader& loader,
                                                   absl::StatusOr<TokenizeRequest>& request,
                                                   ClientLeft client_left) {
  if (!request.ok()) co_return request.status();
  GenerationRequest& generation = request->generation;
  const auto model = pool.FindModel(generation.model);
  if (!model.ok()) co_return model.status();
  const absl::Status loaded = co_await loader.Load(generation, *model, std::move(client_left));
  if (!loaded.ok()) co_return request->names.Rename(loaded);
  co_return BuildPrompt(**model, generation.prompts[0], generation.loaded_media.get(),
                        request->add_special_tokens);
}

}  // namespace

asio::awaitable<absl::StatusOr<json::value>> Tokenize(const WorkerPool& pool, MediaLoader& loader,
                                                      const std::string& body,
                                                      ClientLeft client_left) {
  absl::StatusOr<TokenizeRequest> request = ParseTokenizeRequest(body);
  const absl::StatusOr<BuiltPrompt> prompt =
      co_await Build(pool, loader, request, std::move(client_left));
  if (!prompt.ok()) co_return prompt.status();
  const std::shared_ptr<const ServedModel> model = pool.model();
  json::object answer{{"count", prompt->tokens.size()},
                      {"max_model_len", model->context_tokens_max},
                      {"tokens", json::array(prompt->tokens.begin(), prompt->tokens.end())},
                      {"token_strs", nullptr}};
  if (request->return_token_strs) {
    json::array pieces;
    for (const int id : prompt->tokens) pieces.push_back(JsonText(model->vocabulary->piece(id)));
    answer["token_strs"] = std::move(pieces);
  }
  co_return json::value(std::move(answer));
}

asio::awaitable<absl::StatusOr<json::value>> CountTokens(const WorkerPool& pool,
                                                         MediaLoader& loader,
                                                         const std::string& body,
                                                         ClientLeft client_left) {
  absl::StatusOr<TokenizeRequest> request = ParseCountTokensRequest(body);
  const absl::StatusOr<BuiltPrompt> prompt =
      co_await Build(pool, loader, request, std::move(client_left));
  if (!prompt.ok()) co_return prompt.status();
  co_return json::value(json::object{{"input_tokens", prompt->tokens.size()}});
}

absl::StatusOr<json::value> Detokenize(const WorkerPool& pool, absl::string_view body) {
  ASSIGN_OR_RETURN(const DetokenizeRequest request, ParseDetokenizeRequest(body));
  ASSIGN_OR_RETURN(const auto model, pool.FindModel(request.model));
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
  ASSIGN_OR_RETURN(const auto model, pool.FindModel(/*name=*/""));
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

}  // namespace facet
