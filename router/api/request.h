#ifndef FACET_ROUTER_API_REQUEST_H_
#define FACET_ROUTER_API_REQUEST_H_

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "router/media/media_part.h"

namespace facet {

struct LoadedMedia;
class TenantRequest;

// What every way in (chat completions, completions, gRPC) is turned into. Plain values, checked as
// far as that needs no model.

// How tokens are chosen; what is not set comes from the model's own defaults.
struct SamplingOptions {
  std::optional<float> temperature;  // [0, 2]
  std::optional<float> top_p;        // (0, 1]
  std::optional<uint32_t> top_k;     // 0: all
  std::optional<uint64_t> seed;
  float min_p = 0;                       // [0, 1]
  float presence_penalty = 0;            // [-2, 2]
  float frequency_penalty = 0;           // [-2, 2]
  float repetition_penalty = 1;          // (0, 10]
  std::map<uint32_t, float> logit_bias;  // [-100, 100]
  bool want_logprobs = false;
  uint32_t top_logprobs = 0;  // [0, 20]
};

// The arguments of RenderChat (model/chat_template.h). Shared by copies of the request; never
// changed once it is parsed.
using ChatPrompt = std::shared_ptr<const boost::json::object>;
// Text as it is (no template), or ids.
using Prompt = std::variant<ChatPrompt, std::string, std::vector<int>>;

// What an answer must look like, as a client asked for it.
struct StructuredOutput {
  enum class Kind { kNone, kJsonSchema, kRegex, kChoice, kGrammar };
  Kind kind = Kind::kNone;
  std::string field;                                 // That asked for it: errors name it.
  std::shared_ptr<const boost::json::value> schema;  // Shared by copies of the request.
  std::string text;                                  // A regular expression or a grammar.
  std::vector<std::string> choices;

  // A list as `tools` is: those that must be called, or may be instead of the kind above. Shared by
  // copies of the request; null: none.
  std::shared_ptr<const boost::json::value> tools;
  bool must_call = false;
  bool one_call_at_most = false;

  bool constrains() const { return kind != Kind::kNone || must_call || one_call_at_most; }
};

struct GenerationRequest {
  std::string request_id;
  const char* endpoint = "";  // The label in metrics: "chat", "completions" or "grpc".
  // Whose it is, set where it came in: never null when it is answered. Shared with its answers.
  std::shared_ptr<TenantRequest> tenant;

  std::string model;  // Empty: the one that is served.
  // Of the adapter that `model` names, as workers tell it: set when it is looked for.
  std::string adapter_digest;
  std::vector<Prompt> prompts;  // At least one; more than one on completions alone.
  int choices_per_prompt = 1;   // `n`
  // One for each placeholder of the prompt, in order; there is one prompt then. MediaLoader turns
  // the first into the second.
  std::vector<MediaPart> media;
  std::shared_ptr<const LoadedMedia> loaded_media;  // Null: none. Shared by the answers.
  SamplingOptions sampling;
  std::optional<uint32_t> tokens_max;  // None: what the context leaves room for.
  std::vector<std::string> stop;
  bool ignore_eos = false;
  StructuredOutput structure;
  uint32_t deadline_ms = 0;  // From receipt; 0: none.
  // The lower, the sooner, as vLLM has it; held to what its tenant may have.
  int32_t priority = 0;
  std::string cache_salt;  // Cached prefixes are shared between equal ones alone.

  // How the answer is shaped.
  bool parse_chat = false;        // Thinking and tool calls are told from content.
  bool parse_tool_calls = false;  // The client gave tools.
  bool echo = false;
  bool prompt_only = false;  // With echo: the prompt is all that is shown, as if nothing followed.
  // How likely the prompt's tokens were, with this many alternatives: asked for by name, or by
  // `echo` with `logprobs`.
  std::optional<uint32_t> prompt_logprobs;
  bool show_prompt_logprobs = false;  // By name: they stand in a field of their own.
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;  // In each chunk of a stream; with include_usage.
};

}  // namespace facet

#endif  // FACET_ROUTER_API_REQUEST_H_
