#ifndef FACET_WORKER_PREFILL_BUDGET_H_
#define FACET_WORKER_PREFILL_BUDGET_H_

namespace facet {

// What steps cost lately, as far as prompts beside decodes go. 0: not measured.
struct StepTimes {
  double decode_s = 0;        // a step of the decodes alone
  double prompt_token_s = 0;  // what each token of a prompt adds to it
};

// Prompt tokens that one step may take so that those who decode beside it do not wait long: a step
// of about eight times the decodes' own. Prompts lose little by it, as an eighth of the time goes
// to reading the weights; and a chunk becomes smaller as a prompt grows deep and each of its tokens
// attends to more. Never below a page, so that prompts go on, nor above `tokens_max`. Without
// decodes, or unmeasured: `tokens_max`. A pure function.
int PrefillTokens(const StepTimes& times, int decodes, int tokens_max);

}  // namespace facet

#endif  // FACET_WORKER_PREFILL_BUDGET_H_
