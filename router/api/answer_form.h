#ifndef FACET_ROUTER_API_ANSWER_FORM_H_
#define FACET_ROUTER_API_ANSWER_FORM_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "router/generation.h"

namespace facet {

// How the answers of one request are written: one kind for each family of endpoints. Either a
// stream or a whole answer. Belongs to the request's strand.
class AnswerForm {
 public:
  virtual ~AnswerForm() = default;

  // --- A stream: server-sent events, ready to be written.
  virtual std::string Events(const std::vector<Generation::ChoiceDelta>& deltas) = 0;
  // After the last delta of the last choice.
  virtual std::string LastEvents() = 0;
  // In their place, where the request ended with an error after the first event.
  virtual std::string ErrorEvents(const absl::Status& error) = 0;

  // --- A whole answer: collect all, then write its text.
  virtual void Collect(std::vector<Generation::ChoiceDelta> deltas) = 0;
  virtual std::string Whole() = 0;
  virtual const char* ContentType() const { return "application/json"; }
};

}  // namespace facet

#endif  // FACET_ROUTER_API_ANSWER_FORM_H_
