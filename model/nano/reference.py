"""Answers by the reference implementation: transformers in float32, greedy, in batches."""

import torch
from transformers import AutoTokenizer, Gemma4UnifiedForCausalLM

import prompt

# A batch takes as long as its longest answer; neighbours are mostly of one kind, so their answers
# are of like length.
BATCH_ROWS = 200


class Reference:
    """A loaded Hugging Face folder. One thread at a time."""

    def __init__(self, folder):
        # Eager attention: the plainest arithmetic, and the one that training used.
        self.model = Gemma4UnifiedForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        self.model.eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")

    def answers(self, conversations, token_count_max, progress):
        """The answer to each conversation, in order; `progress` is called with the number done."""
        prompts = [self.render(messages) for messages in conversations]
        answers = []
        for start in range(0, len(prompts), BATCH_ROWS):
            answers += self.generate(prompts[start : start + BATCH_ROWS], token_count_max)
            progress(len(answers))
        return answers

    def render(self, messages):
        """The exported template's rendering, which must be the one that training used."""
        rendered = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        expected = prompt.render(messages)
        if rendered != expected:
            raise ValueError(f"chat_template.jinja and prompt.py differ: {rendered!r} {expected!r}")
        return rendered

    def generate(self, prompts, token_count_max):
        encoded = self.tokenizer(
            prompts, add_special_tokens=False, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=encoded.input_ids,
                attention_mask=encoded.attention_mask,
                do_sample=False,
                max_new_tokens=token_count_max,
            )
        return self.tokenizer.batch_decode(
            output[:, encoded.input_ids.shape[1] :], skip_special_tokens=True
        )
