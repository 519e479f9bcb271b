#ifndef FACET_ROUTER_API_MESSAGES_RESPONSE_H_
#define FACET_ROUTER_API_MESSAGES_RESPONSE_H_

#include <memory>

#include "router/api/answer_form.h"

namespace facet {

// Answers in the form of Anthropic's Messages API: a message with content blocks, or its events
// from message_start to message_stop. `generation` must outlive the form.
std::unique_ptr<AnswerForm> MakeMessagesForm(const Generation& generation);

}  // namespace facet

#endif  // FACET_ROUTER_API_MESSAGES_RESPONSE_H_
