"""Answers by the reference implementation: transformers in float32, greedy, in batches.

The decoder is transformers' own; the masks are those that Facet serves (batches.py), which differ
from those of transformers' bare `forward` where pictures are.
"""

import torch
from transformers import AutoTokenizer, DynamicCache, Gemma4UnifiedForConditionalGeneration

import answers
import batches
import prompt
import vocabulary

BATCH_TOKENS_MAX = 24_000  # prompts of one batch, padding included
BATCH_ROWS_MAX = 100
STOPS = [vocabulary.EOS, vocabulary.TOOL_RESPONSE, vocabulary.TURN_END]
SUPPRESSED = [vocabulary.END_OF_IMAGE, vocabulary.END_OF_AUDIO]


class Reference:
    """A loaded Hugging Face folder. One thread at a time."""

    def __init__(self, folder):
        # Eager attention: the plainest arithmetic, and the one that training used.
        self.model = Gemma4UnifiedForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        self.model.eval()
        self.encoder = batches.Encoder()
        self.template = AutoTokenizer.from_pretrained(folder)

    def answers(self, conversations, token_count_max, progress):
        """An answers.Answer for each conversation, in order.

        `progress` is called with the number done.
        """
        encoded = [self.encode(conversation) for conversation in conversations]
        found = [None] * len(encoded)
        done = 0
        for chosen in batches_by_length(encoded):
            texts = self.generate([encoded[i] for i in chosen], token_count_max)
            for index, text in zip(chosen, texts):
                found[index] = answers.parse(text)
            done += len(chosen)
            progress(done)
        return found

    def encode(self, conversation):
        self.check_template(conversation)
        return self.encoder.encode(conversation)

    def check_template(self, conversation):
        """The exported template must write what training used."""
        found = prompt.template_arguments(conversation)
        rendered = self.template.apply_chat_template(
            found.pop("messages"), tokenize=False, **found
        )
        expected = prompt.render(conversation)
        if rendered != expected:
            raise ValueError(f"chat_template.jinja and prompt.py differ: {rendered!r} {expected!r}")

    @torch.inference_mode()
    def generate(self, encoded, token_count_max):
        batch = batches.tensors(*padded_left(encoded))
        window = self.model.config.text_config.sliding_window
        body, cache = self.model.model.language_model, DynamicCache()
        masks = batches.masks(batch, window, torch.float32)
        inputs, positions = batches.embeddings(self.model, batch), batch.positions
        own = batch.documents == 2
        rows = torch.arange(len(encoded))
        written, stopped = [], torch.zeros(len(encoded), dtype=torch.bool)
        for _ in range(token_count_max):
            hidden = body(
                inputs_embeds=inputs,
                position_ids=positions,
                attention_mask=masks,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[:, -1]
            logits = self.model.lm_head(hidden)
            logits[:, SUPPRESSED] = -torch.inf
            tokens = torch.where(stopped, vocabulary.PAD, logits.argmax(-1))
            written.append(tokens)
            stopped |= torch.isin(tokens, torch.tensor(STOPS))
            if stopped.all():
                break
            inputs = body.embed_tokens(tokens[:, None])
            positions = positions[:, -1:] + 1
            own = torch.cat([own, torch.ones(len(rows), 1, dtype=torch.bool)], 1)
            masks = decode_masks(own, window)
        return [
            self.encoder.tokenizer.decode(row.tolist(), skip_special_tokens=False)
            for row in torch.stack(written, 1)
        ]


def batches_by_length(encoded):
    """Indices in groups of like length, so that little of a batch is padding."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].tokens))
    group = []
    for index in order:
        tokens = len(encoded[index].tokens) * (len(group) + 1)
        if group and (tokens > BATCH_TOKENS_MAX or len(group) == BATCH_ROWS_MAX):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def padded_left(encoded):
    """(rows, length) for batches.tensors: document 1 of a row is padding, document 2 the prompt."""
    length = max(len(item.tokens) for item in encoded) + 1
    rows = []
    for item in encoded:
        count = length - len(item.tokens)
        ignored = [batches.IGNORED] * count
        padding = batches.Encoded([vocabulary.PAD] * count, ignored, [0] * count, [], [], [])
        rows.append([padding, item])
    return rows, length


def decode_masks(own, window):
    """For one new token, the last column of `own`."""
    distance = torch.arange(own.shape[1] - 1, -1, -1)
    full = own[:, None]
    sliding = full & (distance < window)
    return {
        "full_attention": batches.additive(full, torch.float32),
        "sliding_attention": batches.additive(sliding, torch.float32),
    }
