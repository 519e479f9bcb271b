#ifndef FACET_ROUTER_API_RESPONSES_RESPONSE_H_
#define FACET_ROUTER_API_RESPONSES_RESPONSE_H_

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <memory>

#include "router/api/answer_form.h"
#include "router/api/response_store.h"

namespace facet {

// Answers in the form of OpenAI's Responses API: a response with output items, or its events from
// response.created to response.completed, numbered. `request` is the client's body, much of which
// a response repeats. A response that ends is put into `store`, unless that is null, together with
// `items`, the conversation before it. `generation` and `store` must outlive the form.
std::unique_ptr<AnswerForm> MakeResponsesForm(const Generation& generation,
                                              const boost::json::object& request,
                                              ResponseStore* store, boost::json::array items,
                                              int64_t now_s);

}  // namespace facet

#endif  // FACET_ROUTER_API_RESPONSES_RESPONSE_H_
