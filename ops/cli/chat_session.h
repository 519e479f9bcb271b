#ifndef FACET_OPS_CLI_CHAT_SESSION_H_
#define FACET_OPS_CLI_CHAT_SESSION_H_

#include <boost/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace facet {

// A conversation as `facet chat` holds it: what was said, and the pictures and sounds that go with
// the next question. For one thread.
class ChatSession {
 public:
  ChatSession(std::string model, bool thinking) : model_(std::move(model)), thinking_(thinking) {}

  // Attach the bytes of a file of this name to the next question. INVALID_ARGUMENT: the name's
  // ending is none of the formats.
  absl::Status AttachImage(absl::string_view name, absl::string_view bytes);
  absl::Status AttachAudio(absl::string_view name, absl::string_view bytes);

  // The body of a chat completion, streamed, that asks `text` with what is attached.
  std::string Ask(absl::string_view text);
  // What came of it, also where it was stopped; empty: nothing, and the question is taken back.
  void Answer(absl::string_view text);
  void Forget();

 private:
  const std::string model_;
  const bool thinking_;
  boost::json::array messages_;
  boost::json::array attached_;  // Parts of the next question.
};

}  // namespace facet

#endif  // FACET_OPS_CLI_CHAT_SESSION_H_
