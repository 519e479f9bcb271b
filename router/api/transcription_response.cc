#include "router/api/transcription_response.h"

#include <boost/json.hpp>
#include <utility>
#include <vector>

#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/http/http_server.h"
#include "router/media/loaded_media.h"

namespace facet {
namespace {

namespace json = boost::json;

// Of one token of sound: 640 samples of 16,000 a second.
constexpr double kSecondsPerToken = 0.04;

class TranscriptionForm final : public AnswerForm {
 public:
  TranscriptionForm(const Generation& generation, TranscriptFormat format, std::string language)
      : generation_(generation), format_(format), language_(std::move(language)) {}

  std::string Events(const std::vector<Generation::ChoiceDelta>& deltas) override {
    std::string events;
    for (const Generation::ChoiceDelta& each : deltas) {
      const std::string& piece = each.delta.text.content;
      if (piece.empty()) continue;
      text_ += piece;
      events += Event({{"type", "transcript.text.delta"}, {"delta", JsonText(piece)}});
    }
    return events;
  }
  std::string LastEvents() override {
    return Event(
        {{"type", "transcript.text.done"}, {"text", JsonText(text_)}, {"usage", UsageObject()}});
  }
  std::string ErrorEvents(const absl::Status& error) override {
    return EventText(ErrorBody(error));
  }

  void Collect(std::vector<Generation::ChoiceDelta> deltas) override {
    for (const Generation::ChoiceDelta& each : deltas) text_ += each.delta.text.content;
  }
  std::string Whole() override {
    if (format_ == TranscriptFormat::kText) return text_ + "\n";
    json::object answer{{"text", JsonText(text_)}};
    if (format_ == TranscriptFormat::kVerboseJson) {
      answer["task"] = "transcribe";
      answer["language"] = JsonText(language_);
      answer["duration"] = Seconds();
      answer["segments"] = {
          {{"id", 0}, {"start", 0.0}, {"end", Seconds()}, {"text", JsonText(text_)}}};
    }
    answer["usage"] = UsageObject();
    return json::serialize(answer);
  }
  const char* ContentType() const override {
    return format_ == TranscriptFormat::kText ? "text/plain; charset=utf-8" : "application/json";
  }

 private:
  static std::string Event(const json::object& data) { return EventText(json::serialize(data)); }

  int AudioTokens() const {
    return static_cast<int>(generation_.request().loaded_media->Tensors()[0]->head.tokens());
  }
  double Seconds() const { return AudioTokens() * kSecondsPerToken; }

  json::object UsageObject() const {
    const Usage usage = generation_.usage();
    return {
        {"type", "tokens"},
        {"input_tokens", usage.prompt_tokens},
        {"input_token_details",
         {{"audio_tokens", AudioTokens()}, {"text_tokens", usage.prompt_tokens - AudioTokens()}}},
        {"output_tokens", usage.completion_tokens},
        {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
  }

  const Generation& generation_;
  const TranscriptFormat format_;
  const std::string language_;
  std::string text_;
};

}  // namespace

std::unique_ptr<AnswerForm> MakeTranscriptionForm(const Generation& generation,
                                                  TranscriptFormat format, std::string language) {
  return std::make_unique<TranscriptionForm>(generation, format, std::move(language));
}

}  // namespace facet
