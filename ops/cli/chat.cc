#include <editline/readline.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "model/json.h"
#include "ops/cli/chat_session.h"
#include "ops/cli/command.h"
#include "ops/cli/event_stream.h"
#include "router/api/json_fields.h"

ABSL_FLAG(std::string, url, "http://127.0.0.1:9379", "chat: the server.");
ABSL_FLAG(std::string, chat_model, "", "chat: the model's name; empty: what is served.");
ABSL_FLAG(bool, thinking, false, "chat: whether the model thinks first; thoughts are dimmed.");

namespace facet {
namespace {

namespace json = boost::json;

#define FACET_CHAT_HELP                                     \
  "  /image FILE   show a picture with the next question\n" \
  "  /audio FILE   play a sound with the next question\n"   \
  "  /reset        forget the conversation\n"               \
  "  /help         this\n"                                  \
  "  Ctrl-C        stop an answer; Ctrl-D ends\n"

// An answer as it comes: thoughts dimmed, if there is a terminal to dim them.
class Screen {
 public:
  void Show(absl::string_view text, bool thought) {
    if (text.empty()) return;
    if (thought != dimmed_) {
      // What follows a thought begins a line of its own.
      if (!thought) std::cout << "\n\n";
      if (is_terminal_) std::cout << (thought ? "\x1b[2m" : "\x1b[0m");
      dimmed_ = thought;
    }
    std::cout << text << std::flush;
  }
  void End() {
    if (dimmed_ && is_terminal_) std::cout << "\x1b[0m";
    dimmed_ = false;
    std::cout << std::endl;
  }

 private:
  const bool is_terminal_ = isatty(STDOUT_FILENO) != 0;
  bool dimmed_ = false;
};

// The next line, edited at a terminal; nothing at the end of the input.
std::optional<std::string> ReadLine() {
  if (isatty(STDIN_FILENO) == 0) {
    std::string line;
    return std::getline(std::cin, line) ? std::optional(line) : std::nullopt;
  }
  char* const line = readline("> ");
  if (line == nullptr) return std::nullopt;
  if (*line != '\0') add_history(line);
  std::string result(line);
  // The library's own, made by malloc.
  std::free(line);  // NOLINT(cppcoreguidelines-no-malloc)
  return result;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

std::string StringIn(const json::object& object, const char* name) {
  std::string text;
  // Another type is none of ours to show.
  JsonFields(object, "").String(name, &text).IgnoreError();
  return text;
}

// What a chunk of the stream adds; an error event ends the answer.
absl::Status ShowChunk(absl::string_view data, Screen& screen, std::string& content) {
  if (data == "[DONE]") return absl::OkStatus();
  ASSIGN_OR_RETURN(const json::value chunk, ParseJson(data, "an event"));
  if (!chunk.is_object()) return absl::OkStatus();
  const json::object& object = chunk.get_object();
  if (const json::value* error = object.if_contains("error"); error != nullptr) {
    return absl::UnavailableError(error->is_object() ? StringIn(error->get_object(), "message")
                                                     : json::serialize(*error));
  }
  const JsonFields fields(object, "");
  ASSIGN_OR_RETURN(const json::array* choices, fields.Array("choices"));
  if (choices == nullptr || choices->empty() || !(*choices)[0].is_object()) return absl::OkStatus();
  const JsonFields choice((*choices)[0].get_object(), "");
  ASSIGN_OR_RETURN(const json::object* delta, choice.Object("delta"));
  if (delta == nullptr) return absl::OkStatus();
  screen.Show(StringIn(*delta, "reasoning_content"), /*thought=*/true);
  const std::string text = StringIn(*delta, "content");
  screen.Show(text, /*thought=*/false);
  content += text;
  return absl::OkStatus();
}

absl::Status Answer(const ServerAddress& server, const std::string& question,
                    ChatSession& session) {
  Screen screen;
  std::string content;
  absl::Status shown;
  const absl::Status status = BlockingPostForEvents(
      server, "/v1/chat/completions", session.Ask(question),
      [&](absl::string_view data) { shown.Update(ShowChunk(data, screen, content)); });
  screen.End();
  session.Answer(content);
  if (absl::IsCancelled(status)) return absl::OkStatus();
  return status.ok() ? shown : status;
}

// A line that begins with a slash.
absl::Status Obey(absl::string_view line, ChatSession& session) {
  if (line == "/help") {
    std::cout << FACET_CHAT_HELP << std::flush;
    return absl::OkStatus();
  }
  if (line == "/reset") {
    session.Forget();
    return absl::OkStatus();
  }
  const bool image = absl::ConsumePrefix(&line, "/image ");
  if (!image && !absl::ConsumePrefix(&line, "/audio ")) {
    return absl::InvalidArgumentError(absl::StrCat("no such command: ", line, "; try /help"));
  }
  const std::string path(line);
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  return image ? session.AttachImage(path, bytes) : session.AttachAudio(path, bytes);
}

absl::Status Run(const std::vector<absl::string_view>&) {
  ASSIGN_OR_RETURN(const ServerAddress server, ParseServerAddress(absl::GetFlag(FLAGS_url)));
  ChatSession session(absl::GetFlag(FLAGS_chat_model), absl::GetFlag(FLAGS_thinking));
  while (const std::optional<std::string> line = ReadLine()) {
    if (line->empty()) continue;
    const absl::Status status =
        line->front() == '/' ? Obey(*line, session) : Answer(server, *line, session);
    if (!status.ok()) std::cerr << status.message() << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace

const Command kChatCommand = {
    "chat", "talk to a running server",
    "facet chat [--url=http://HOST:PORT] [--chat_model=NAME] [--thinking]: a conversation in the\n"
    "terminal. Answers come as they are generated, thoughts dimmed.\n\n" FACET_CHAT_HELP
    "\n"
    "Without a terminal, each line of stdin is a question.",
    Run, /*handles_signals=*/true};

}  // namespace facet
