#include "router/api/responses_response.h"

#include <boost/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "router/api/answer_blocks.h"
#include "router/api/answer_parts.h"
#include "router/api/json_fields.h"

namespace facet {
namespace {

namespace json = boost::json;
using Kind = AnswerBlocks::Kind;
using What = AnswerBlocks::Step::What;

json::object UsageOf(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens},
          {"input_tokens_details", json::object{{"cached_tokens", usage.cached_prompt_tokens}}},
          {"output_tokens", usage.completion_tokens},
          {"output_tokens_details", json::object{{"reasoning_tokens", usage.reasoning_tokens}}},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

// What a response repeats of its request, with the values of what was not given.
json::object Echo(const json::object& request, const Generation& generation, bool store) {
  const SamplingOptions& sampling = generation.request().sampling;
  json::object echo{{"background", false},
                    {"instructions", nullptr},
                    {"max_output_tokens", nullptr},
                    {"metadata", json::object()},
                    {"parallel_tool_calls", true},
                    {"previous_response_id", nullptr},
                    {"reasoning", json::object{{"effort", nullptr}, {"summary", nullptr}}},
                    {"text", json::object{{"format", json::object{{"type", "text"}}}}},
                    {"tool_choice", "auto"},
                    {"tools", json::array()},
                    {"truncation", "disabled"},
                    {"user", nullptr}};
  CopyFields(request,
             {"instructions", "max_output_tokens", "metadata", "parallel_tool_calls",
              "previous_response_id", "reasoning", "text", "tool_choice", "tools", "user"},
             echo);
  echo["store"] = store;
  echo["temperature"] = sampling.temperature.value_or(generation.model().temperature);
  echo["top_p"] = sampling.top_p.value_or(generation.model().top_p);
  return echo;
}

class ResponsesForm final : public AnswerForm {
 public:
  ResponsesForm(const Generation& generation, const json::object& request, ResponseStore* store,
                json::array items, int64_t now_s)
      : generation_(generation),
        store_(store),
        created_s_(now_s),
        id_(NewAnswerId("resp_")),
        echo_(Echo(request, generation, store != nullptr)),
        items_(std::move(items)) {}

  std::string Events(const std::vector<Generation::ChoiceDelta>& deltas) override {
    std::string events;
    for (const auto& [choice, delta] : deltas) {
      if (!std::exchange(begun_, true)) {
        events += Event("response.created", {{"response", Response("in_progress")}});
        events += Event("response.in_progress", {{"response", Response("in_progress")}});
      }
      for (const AnswerBlocks::Step& step : blocks_.Add(delta)) events += EventsOf(step);
    }
    return events;
  }

  std::string LastEvents() override {
    const json::object response = Ended();
    return Event(complete() ? "response.completed" : "response.incomplete",
                 {{"response", response}});
  }

  std::string ErrorEvents(const absl::Status& error) override {
    json::object response = Response("failed");
    response["error"] =
        json::object{{"code", "server_error"}, {"message", JsonText(error.message())}};
    return Event("response.failed", {{"response", std::move(response)}});
  }

  void Collect(std::vector<Generation::ChoiceDelta> deltas) override {
    for (const auto& [choice, delta] : deltas) blocks_.Add(delta);
  }

  std::string Whole() override { return json::serialize(Ended()); }

 private:
  bool complete() const { return blocks_.finish_reason() == v1::FINISH_REASON_STOP; }

  std::string Event(absl::string_view type, json::object data) {
    data["sequence_number"] = sequence_number_++;
    return NamedEvent(type, std::move(data));
  }

  json::object Response(const char* status) const {
    json::array output;
    for (size_t i = 0; i < blocks_.blocks().size(); ++i) {
      output.push_back(Item(static_cast<int>(i)));
    }
    json::object response{{"id", JsonText(id_)},
                          {"object", "response"},
                          {"created_at", created_s_},
                          {"status", status},
                          {"error", nullptr},
                          {"incomplete_details", nullptr},
                          {"model", JsonText(generation_.model_name())},
                          {"output", std::move(output)},
                          {"usage", nullptr}};
    for (const auto& [key, value] : echo_) response[key] = value;
    return response;
  }

  // The response at its end; kept where it shall be.
  json::object Ended() {
    json::object response = Response(complete() ? "completed" : "incomplete");
    response["usage"] = UsageOf(generation_.usage());
    if (!complete()) {
      response["incomplete_details"] = json::object{{"reason", "max_output_tokens"}};
    }
    if (store_ != nullptr) Keep(response);
    return response;
  }

  void Keep(json::object& response) {
    const json::array& output = response["output"].get_array();
    items_.insert(items_.end(), output.begin(), output.end());
    const json::object stored{{"response", response}, {"items", std::move(items_)}};
    const absl::Status kept = store_->Put(id_, json::serialize(stored));
    if (kept.ok()) return;
    // The answer itself is good; it says that nothing can go on from it.
    response["store"] = false;
    LogWarning("response not kept", {{"request_id", generation_.request().request_id},
                                     {"reason", absl::string_view(kept.message())}});
  }

  std::string ItemId(int index) const {
    static constexpr const char* kPrefixes[] = {"rs_", "msg_", "fc_"};
    return absl::StrCat(kPrefixes[static_cast<int>(blocks_.blocks()[index].kind)], id_.substr(5),
                        "_", index);
  }

  // All but the last are complete; the last is what the answer is.
  const char* ItemStatus(int index) const {
    if (index + 1 < static_cast<int>(blocks_.blocks().size())) return "completed";
    if (blocks_.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) return "in_progress";
    return complete() ? "completed" : "incomplete";
  }

  static json::object Part(Kind kind, const std::string& text) {
    if (kind == Kind::kThinking) return {{"type", "reasoning_text"}, {"text", JsonText(text)}};
    return {{"type", "output_text"},
            {"text", JsonText(text)},
            {"annotations", json::array()},
            {"logprobs", json::array()}};
  }

  json::object Item(int index) const {
    return ItemWith(index, ItemStatus(index), blocks_.blocks()[index].text, /*begun=*/true);
  }

  // `begun`: its one part is there.
  json::object ItemWith(int index, const char* status, const std::string& text, bool begun) const {
    const AnswerBlocks::Block& block = blocks_.blocks()[index];
    json::object item{{"id", JsonText(ItemId(index))}};
    if (block.kind == Kind::kToolCall) {
      item["type"] = "function_call";
      item["status"] = status;
      item["call_id"] = JsonText(ToolCallId(id_, 0, index));
      item["name"] = JsonText(block.name);
      item["arguments"] = JsonText(text);
      return item;
    }
    json::array content;
    if (begun) content.push_back(Part(block.kind, text));
    item["type"] = block.kind == Kind::kThinking ? "reasoning" : "message";
    item["status"] = status;
    if (block.kind == Kind::kThinking) item["summary"] = json::array();
    if (block.kind == Kind::kText) item["role"] = "assistant";
    item["content"] = std::move(content);
    return item;
  }

  // What events about an item's one part, or about its arguments, have in common.
  json::object Place(int index) const {
    json::object place{{"item_id", JsonText(ItemId(index))}, {"output_index", index}};
    if (blocks_.blocks()[index].kind != Kind::kToolCall) place["content_index"] = 0;
    return place;
  }
  json::object Placed(int index, const char* name, json::value value) const {
    json::object place = Place(index);
    place[name] = std::move(value);
    if (blocks_.blocks()[index].kind == Kind::kText && absl::string_view(name) != "part") {
      place["logprobs"] = json::array();
    }
    return place;
  }

  std::string EventsOf(const AnswerBlocks::Step& step) {
    const AnswerBlocks::Block& block = blocks_.blocks()[step.block];
    switch (step.what) {
      case What::kBegin:
        return BeginEvents(step.block, block.kind);
      case What::kAppend:
        return Event(absl::StrCat(TextEventOf(block.kind), ".delta"),
                     Placed(step.block, "delta", JsonText(step.text)));
      case What::kEnd:
        return EndEvents(step.block, block);
    }
    return "";
  }

  static const char* TextEventOf(Kind kind) {
    if (kind == Kind::kThinking) return "response.reasoning_text";
    return kind == Kind::kText ? "response.output_text" : "response.function_call_arguments";
  }

  std::string BeginEvents(int index, Kind kind) {
    std::string events = Event(
        "response.output_item.added",
        {{"output_index", index}, {"item", ItemWith(index, "in_progress", "", /*begun=*/false)}});
    if (kind == Kind::kToolCall) return events;
    return events + Event("response.content_part.added", Placed(index, "part", Part(kind, "")));
  }

  std::string EndEvents(int index, const AnswerBlocks::Block& block) {
    const bool call = block.kind == Kind::kToolCall;
    json::object done = Placed(index, call ? "arguments" : "text", JsonText(block.text));
    if (call) done["name"] = JsonText(block.name);
    std::string events = Event(absl::StrCat(TextEventOf(block.kind), ".done"), std::move(done));
    if (!call) {
      events +=
          Event("response.content_part.done", Placed(index, "part", Part(block.kind, block.text)));
    }
    return events +
           Event("response.output_item.done", {{"output_index", index}, {"item", Item(index)}});
  }

  const Generation& generation_;
  ResponseStore* const store_;
  const int64_t created_s_;
  const std::string id_;
  const json::object echo_;
  json::array items_;
  AnswerBlocks blocks_;
  bool begun_ = false;
  int sequence_number_ = 0;
};

}  // namespace

std::unique_ptr<AnswerForm> MakeResponsesForm(const Generation& generation,
                                              const json::object& request, ResponseStore* store,
                                              json::array items, int64_t now_s) {
  return std::make_unique<ResponsesForm>(generation, request, store, std::move(items), now_s);
}

}  // namespace facet
