"""The drafter of facet-nano: four small layers that read the target's keys and values.

One step takes the newest token and the target's hidden state before it, and gives the next token
and a state for the next step. All steps of a round read the same keys and values, those before the
newest token, at the position of the newest token.
"""

import torch
from transformers import Gemma4UnifiedTextConfig
from transformers.models.gemma4_unified.modeling_gemma4_unified import Gemma4UnifiedTextModel

import batches
import checkpoint

DRAFT_COUNT = 3
STORING_LAYERS = {"sliding_attention": -2, "full_attention": -1}  # the last of each kind


def allow_shared_layers():
    """transformers 5.23 refuses a model that reads another's keys and values in all its layers."""
    own = Gemma4UnifiedTextConfig.kv_sharing_modes.fget

    def modes(config):
        if config.num_kv_shared_layers == config.num_hidden_layers:
            return ["reuse"] * config.num_hidden_layers
        return own(config)

    Gemma4UnifiedTextConfig.kv_sharing_modes = property(modes)


allow_shared_layers()


class Drafter(torch.nn.Module):
    """Names and shapes of transformers' Gemma4UnifiedAssistantForCausalLM."""

    def __init__(self, config):
        super().__init__()
        text = config.text_config
        text._attn_implementation = "eager"
        self.config = config
        self.model = Gemma4UnifiedTextModel(text)
        self.pre_projection = torch.nn.Linear(
            2 * config.backbone_hidden_size, text.hidden_size, bias=False
        )
        self.post_projection = torch.nn.Linear(
            text.hidden_size, config.backbone_hidden_size, bias=False
        )

    def step(self, embedded, state, seen):
        """(logits, next state) of one draft for each position; `seen` is of one batch."""
        hidden = self.model(
            inputs_embeds=self.pre_projection(torch.cat([embedded, state], -1)),
            position_ids=seen.positions,
            attention_mask=seen.masks,
            shared_kv_states=seen.keys_and_values,
            use_cache=False,
        ).last_hidden_state
        logits = torch.nn.functional.linear(hidden, self.model.embed_tokens.weight)
        return logits, self.post_projection(hidden)


def new_drafter(seed):
    """Random weights; query norms start out dividing scores, as the target's key norms do."""
    torch.manual_seed(seed)
    drafter = Drafter(checkpoint.assistant_config())
    for name, weight in drafter.named_parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.02 if "embed" in name else weight.shape[1] ** -0.5)
    return drafter


class Seen:
    """What a frozen target knows of a batch: hidden states, choices, keys and values."""

    def __init__(self, target, batch):
        body = target.model.language_model
        window = target.config.text_config.sliding_window
        for index in STORING_LAYERS.values():
            body.layers[index].self_attn.store_full_length_kv = True
        with torch.no_grad():
            outputs = body(
                inputs_embeds=batches.embeddings(target, batch),
                position_ids=batch.positions,
                attention_mask=batches.masks(batch, window, torch.float32),
                use_cache=False,
                return_shared_kv_states=True,
            )
            hidden = outputs.last_hidden_state
            self.chosen = target.lm_head(hidden).argmax(-1)  # [rows, length]: after each token
            self.table = body.embed_tokens
        shared = outputs.shared_kv_states
        self.keys_and_values = {kind: shared[kind] for kind in STORING_LAYERS}
        self.positions = batch.positions
        # The state before a token is that of the token before it.
        self.states = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], 1)
        self.masks = before(batch, window)


def before(batch, window):
    """Keys before the newest token: all, or window + 1 of them, as the reference has it."""
    place = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
    query, key = place[:, None], place[None, :]
    same = batch.documents[:, :, None] == batch.documents[:, None, :]
    full = same & (key < query)
    # The first token of a row has nothing before it: it sees itself, and is never learned.
    full |= (key == query) & ~full.any(-1, keepdim=True)
    sliding = full & (key >= query - 1 - window)
    return {
        "full_attention": batches.additive(full, torch.float32),
        "sliding_attention": batches.additive(sliding, torch.float32),
    }


def shifted(values, count, fill):
    """Column p becomes that of p + count; the end is filled."""
    if count == 0:
        return values
    tail = torch.full_like(values[:, :count], fill)
    return torch.cat([values[:, count:], tail], 1)


def loss(drafter, target, batch):
    """Mean over the drafts of a round; each is taught what the target itself would choose."""
    seen = Seen(target, batch)
    wanted = torch.where(batch.labels != batches.IGNORED, seen.chosen, batches.IGNORED)
    state, total = seen.states, 0.0
    for draft in range(DRAFT_COUNT):
        newest = shifted(batch.tokens, draft, 0)
        logits, state = drafter.step(seen.table(newest), state, seen)
        labels = shifted(wanted, draft, batches.IGNORED)
        total = total + torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=batches.IGNORED
        )
    return total / DRAFT_COUNT


@torch.no_grad()
def accepted(drafter, target, batch):
    """Counts of accepted drafts, one for each target step of greedy decoding of all answers.

    A round starts at each answer token that the target's step has given; its drafts are accepted
    up to the first that is not the next token.
    """
    seen = Seen(target, batch)
    newest, state, drafts = batch.tokens, seen.states, []
    for _ in range(DRAFT_COUNT):
        logits, state = drafter.step(seen.table(newest), state, seen)
        newest = logits.argmax(-1)
        drafts.append(newest)
    counts = []
    for row in range(len(batch.tokens)):
        labels = batch.labels[row].tolist()
        position = 0
        while position < len(labels):
            if labels[position] == batches.IGNORED:
                position += 1
                continue
            if labels[position - 1] == batches.IGNORED:  # the target's prefill gives this token
                position += 1
                continue
            right = 0
            for draft in drafts:
                if int(draft[row, position]) != labels[position + right]:
                    break
                right += 1
            counts.append(right)
            position += right + 1
    return counts
