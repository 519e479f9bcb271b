#ifndef FACET_ROUTER_HTTP_API_CALL_H_
#define FACET_ROUTER_HTTP_API_CALL_H_

#include <functional>
#include <memory>

#include "router/api/answer_form.h"
#include "router/api/field_names.h"
#include "router/api/request.h"
#include "router/generation.h"

namespace facet {

// A request of an endpoint that generates: what to generate, and how to write what comes of it.
struct ApiCall {
  GenerationRequest request;
  // The generation outlives the form.
  std::function<std::unique_ptr<AnswerForm>(const Generation& generation)> make_form;
  FieldNames names;  // Of `request`'s fields, where the endpoint calls them otherwise.
};

}  // namespace facet

#endif  // FACET_ROUTER_HTTP_API_CALL_H_
