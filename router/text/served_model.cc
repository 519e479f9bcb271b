#include "router/text/served_model.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/gguf.h"
#include "model/metadata.h"

namespace facet {
namespace {

constexpr int64_t kWindowTokensMax = 1 << 20;

absl::Status ReadSamplingDefaults(const Metadata& metadata, ServedModel& model) {
  if (metadata.Has("general.sampling.temp")) {
    ASSIGN_OR_RETURN(const double value, metadata.GetFloat("general.sampling.temp"));
    model.temperature = static_cast<float>(value);
  }
  if (metadata.Has("general.sampling.top_p")) {
    ASSIGN_OR_RETURN(const double value, metadata.GetFloat("general.sampling.top_p"));
    model.top_p = static_cast<float>(value);
  }
  if (metadata.Has("general.sampling.top_k")) {
    ASSIGN_OR_RETURN(const int64_t value, metadata.GetInt("general.sampling.top_k"));
    model.top_k = static_cast<uint32_t>(value);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ServedModel>> MakeServedModel(
    const v1::DescribeReply& description, int64_t now_s) {
  if (description.model_name().empty()) return absl::InvalidArgumentError("model_name is empty");
  if (description.context_tokens_max() < 2) {
    return absl::InvalidArgumentError("context_tokens_max is less than 2");
  }
  ASSIGN_OR_RETURN(const GgufHeader header, ParseGguf(description.metadata_gguf()));
  auto model = std::make_shared<ServedModel>();
  model->name = description.model_name();
  model->digest = description.model_digest();
  model->tokenizer_digest = description.tokenizer_digest();
  model->created_s = now_s;
  ASSIGN_OR_RETURN(model->vocabulary, Vocabulary::FromMetadata(header.metadata));
  model->tokenizer = std::make_unique<const Tokenizer>(model->vocabulary);
  model->token_cache = std::make_unique<TokenCache>(model->tokenizer.get());
  absl::StatusOr<std::unique_ptr<GrammarChecker>> checker =
      GrammarChecker::Make(*model->vocabulary);
  if (checker.ok()) model->grammar_checker = *std::move(checker);
  model->context_tokens_max = description.context_tokens_max();
  model->page_tokens = description.page_tokens();
  if (header.metadata.Has("gemma4.attention.sliding_window")) {
    ASSIGN_OR_RETURN(const int64_t window,
                     header.metadata.GetInt("gemma4.attention.sliding_window"));
    if (window < 1 || window > kWindowTokensMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("gemma4.attention.sliding_window is ", window));
    }
    model->window_tokens = static_cast<uint32_t>(window);
  }
  if (model->page_tokens == 0) return absl::InvalidArgumentError("page_tokens is 0");
  model->media = description.media();
  RETURN_IF_ERROR(ReadSamplingDefaults(header.metadata, *model));
  return model;
}

}  // namespace facet
