"""Packs conversations into rows of one fixed length, so that no arithmetic is spent on padding.

Positions restart with each conversation, and the masks keep conversations of one row apart. For two
conversations of 3 and 2 tokens in a row of 6, `documents` is [1, 1, 1, 2, 2, 0]; 0 marks padding,
which sees itself alone.
"""

import dataclasses
import random

import torch
from tokenizers import Tokenizer

import corpus
import prompt
import vocabulary

IGNORED = -100  # the label of a token that is not learned


@dataclasses.dataclass(frozen=True)
class Batch:
    tokens: torch.Tensor  # int64, [rows, length]
    labels: torch.Tensor  # int64, [rows, length]: the token that follows, or IGNORED
    positions: torch.Tensor  # int64, [rows, length]
    documents: torch.Tensor  # int64, [rows, length]


def encode_conversation(tokenizer, messages):
    """Token ids and their labels: the next token where it belongs to an answer, else IGNORED."""
    tokens, learned = [], []
    for text, learn in prompt.render_for_training(messages):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokens += ids
        learned += [learn] * len(ids)
    labels = [token if learn else IGNORED for token, learn in zip(tokens[1:], learned[1:])]
    return tokens, labels + [IGNORED]


class Packer:
    """Endless batches of training conversations.

    Batch n of a seed is always the same, whatever came before it.
    """

    def __init__(self, seed):
        self.seed = seed
        self.tokenizer = Tokenizer.from_str(vocabulary.tokenizer_text())

    def batch(self, index, row_count, length):
        """Conversations, each in the first of the open rows that has room.

        Those longer than a row are left out.
        """
        rng = random.Random(f"{self.seed} batch {index}")
        rows = [[] for _ in range(row_count)]
        space = [length] * row_count
        misses = 0
        while misses < 12:
            tokens, labels = encode_conversation(self.tokenizer, corpus.conversation(rng))
            for row in range(row_count):
                if space[row] >= len(tokens):
                    rows[row].append((tokens, labels))
                    space[row] -= len(tokens)
                    break
            else:
                misses += 1
        return tensors(rows, length)


def tensors(rows, length):
    shape = (len(rows), length)
    tokens = torch.full(shape, vocabulary.PAD)
    labels = torch.full(shape, IGNORED)
    positions = torch.zeros(shape, dtype=torch.int64)
    documents = torch.zeros(shape, dtype=torch.int64)
    for row, conversations in enumerate(rows):
        start = 0
        for number, (ids, targets) in enumerate(conversations, 1):
            end = start + len(ids)
            tokens[row, start:end] = torch.tensor(ids)
            labels[row, start:end] = torch.tensor(targets)
            positions[row, start:end] = torch.arange(end - start)
            documents[row, start:end] = number
            start = end
    return Batch(tokens, labels, positions, documents)


def masks(batch, window, dtype):
    """Additive masks for both kinds of layers.

    A token sees earlier ones of its own conversation, and itself.
    """
    length = batch.tokens.shape[1]
    query, key = torch.arange(length)[:, None], torch.arange(length)[None, :]
    same = batch.documents[:, :, None] == batch.documents[:, None, :]
    full = same & (key <= query)
    # A padding token sees all earlier padding; what it computes is never used.
    sliding = full & (key > query - window)
    return {
        "full_attention": additive(full, dtype),
        "sliding_attention": additive(sliding, dtype),
    }


def additive(allowed, dtype):
    lowest = torch.finfo(dtype).min / 2
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, lowest)[:, None]
