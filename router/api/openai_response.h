#ifndef FACET_ROUTER_API_OPENAI_RESPONSE_H_
#define FACET_ROUTER_API_OPENAI_RESPONSE_H_

#include <cstdint>
#include <memory>

#include "router/api/answer_form.h"

namespace facet {

// Answers in OpenAI's forms. `chat`: chat.completion(.chunk), else text_completion. A stream has
// one chunk a delta; the first of each choice carries the role (chat), the last the finish reason;
// after all, the usage if it was asked for, and the end mark. `now_s` is `created`. `generation`
// must outlive the form.
std::unique_ptr<AnswerForm> MakeOpenAiForm(const Generation& generation, bool chat, int64_t now_s);

}  // namespace facet

#endif  // FACET_ROUTER_API_OPENAI_RESPONSE_H_
