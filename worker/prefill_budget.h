#ifndef FACET_WORKER_PREFILL_BUDGET_H_
#define FACET_WORKER_PREFILL_BUDGET_H_

namespace facet {

// How many prompt tokens a step may take so that those who decode beside it do not wait long: a
// step of about eight times the decodes' own, by what steps took lately. Prompts lose little by it,
// as an eighth of the time goes to reading the weights; and a chunk becomes smaller as a prompt
// grows deep and each of its tokens attends to more. No lock: it belongs to the engine's thread.
class PrefillBudget {
 public:
  // A step of `rows`, of which `prompt_rows` were a prompt's, took so long.
  void Add(int rows, int prompt_rows, double seconds);
  // Never below a page, so that prompts go on, nor above `tokens_max`. Without decodes, or while it
  // is not known what a prompt's token costs: `tokens_max`.
  int Tokens(int decodes, int tokens_max) const;

 private:
  // Moving averages; 0: not measured. A prompt may take thousands of steps, in which no step of the
  // decodes alone is measured: the last one counts.
  double decode_s_ = 0;        // a step of the decodes alone
  double prompt_token_s_ = 0;  // what a prompt's token adds to it
};

}  // namespace facet

#endif  // FACET_WORKER_PREFILL_BUDGET_H_
