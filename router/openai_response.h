#ifndef FACET_ROUTER_OPENAI_RESPONSE_H_
#define FACET_ROUTER_OPENAI_RESPONSE_H_

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "router/generation.h"
#include "router/relay.h"

namespace facet {

// Answers in OpenAI's forms, as JSON text. Belongs to the request's strand.
class OpenAiResponse {
 public:
  // `chat`: chat.completion(.chunk), else text_completion. `now_s` is `created`.
  // `generation` must outlive it.
  OpenAiResponse(const Generation& generation, bool chat, int64_t now_s);

  // --- A stream: one chunk a delta. The first of each choice carries the role (chat), the last the
  // finish reason. Returns server-sent events, ready to be written.
  std::string Events(const std::vector<Generation::ChoiceDelta>& deltas);
  // The usage chunk, if it was asked for, and the end mark.
  std::string LastEvents() const;

  // --- A whole answer: collect all, then write.
  void Collect(std::vector<Generation::ChoiceDelta> deltas);
  std::string Whole() const;

 private:
  struct Choice {
    bool begun = false;   // A chunk of it was written.
    int text_offset = 0;  // In characters, of completions' logprobs.
    RelayDelta collected;
  };

  std::string ChatEvents(int index, const RelayDelta& delta);
  std::string CompletionEvents(int index, const RelayDelta& delta);
  // One event with one choice; `content_name` is "delta" or "text".
  std::string Chunk(int index, const char* content_name, boost::json::value content,
                    boost::json::value logprobs, boost::json::value finish_reason) const;
  boost::json::object WholeChat(int index) const;
  boost::json::object WholeCompletion(int index) const;

  const Generation& generation_;
  const bool chat_;
  const int64_t created_s_;
  const std::string id_;
  std::vector<Choice> choices_;
};

}  // namespace facet

#endif  // FACET_ROUTER_OPENAI_RESPONSE_H_
