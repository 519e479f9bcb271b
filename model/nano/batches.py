"""Packs conversations into rows of one fixed length, so that no arithmetic is spent on padding.

Positions restart with each conversation, and the masks keep conversations of one row apart. For two
conversations of 3 and 2 tokens in a row of 6, `documents` is [1, 1, 1, 2, 2, 0]; 0 marks padding,
which sees itself alone. `blocks` numbers the pictures of a row from 1: tokens of one picture see
each other both ways on sliding layers.
"""

import dataclasses
import random

import numpy
import torch
from tokenizers import Tokenizer

import media
import prompt
import vocabulary

IGNORED = -100  # the label of a token that is not learned
MISSES_MAX = 10  # conversations in a row that fit nowhere before a batch is full


@dataclasses.dataclass(frozen=True)
class Batch:
    tokens: torch.Tensor  # int64, [rows, length]
    labels: torch.Tensor  # int64, [rows, length]: the token that follows, or IGNORED
    positions: torch.Tensor  # int64, [rows, length]
    documents: torch.Tensor  # int64, [rows, length]
    blocks: torch.Tensor  # int64, [rows, length]: 0 outside of pictures
    patches: torch.Tensor  # uint8, [patches, 6912], of all pictures in order
    patch_positions: torch.Tensor  # int64, [patches, 2]: (x, y)
    frames: torch.Tensor  # float32, [frames, 640], of all sounds in order

    def to(self, device):
        values = (getattr(self, field.name).to(device) for field in dataclasses.fields(self))
        return Batch(*values)


@dataclasses.dataclass
class Encoded:
    """One conversation as tokens; media are placeholders, with what they stand for beside."""

    tokens: list
    labels: list
    blocks: list
    patches: list  # of arrays
    patch_positions: list
    frames: list


class Encoder:
    """Turns conversations into tokens. One thread."""

    def __init__(self):
        self.tokenizer = Tokenizer.from_str(vocabulary.tokenizer_text())

    def encode(self, conversation):
        found = Encoded([], [], [], [], [], [])
        learned = []
        for segment in prompt.segments(conversation):
            start = len(found.tokens)
            if segment.part is None:
                self.add_text(found, segment.text)
            else:
                getattr(self, "add_" + segment.part["type"])(found, segment.part)
            learned += [segment.learn] * (len(found.tokens) - start)
        following = zip(found.tokens[1:], learned[1:])
        found.labels = [token if learn else IGNORED for token, learn in following] + [IGNORED]
        return found

    def add_text(self, found, text):
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        found.tokens += ids
        found.blocks += [0] * len(ids)

    def add_image(self, found, part):
        self.add_picture(found, part["image"], vocabulary.IMAGE)

    def add_picture(self, found, picture, token):
        patches, positions = media.patches(picture)
        block = max(found.blocks, default=0) + 1
        count = len(patches)
        found.tokens += [vocabulary.BEGIN_OF_IMAGE] + [token] * count + [vocabulary.END_OF_IMAGE]
        found.blocks += [0] + [block] * count + [0]
        found.patches.append(patches)
        found.patch_positions.append(positions)

    def add_video(self, found, part):
        for second, frame in enumerate(part["video"].frames):
            space = " " if second else ""
            self.add_text(found, f"{space}{second // 60:02}:{second % 60:02} ")
            self.add_picture(found, frame, vocabulary.VIDEO)

    def add_audio(self, found, part):
        frames = media.frames(part["audio"])
        count = len(frames)
        found.tokens += (
            [vocabulary.BEGIN_OF_AUDIO] + [vocabulary.AUDIO] * count + [vocabulary.END_OF_AUDIO]
        )
        found.blocks += [0] * (count + 2)
        found.frames.append(frames)


class Packer:
    """Endless batches of training conversations.

    Batch n of a seed is always the same, whatever came before it.
    """

    def __init__(self, seed, mixture):
        self.seed = seed
        self.mixture = mixture
        self.encoder = Encoder()

    def batch(self, index, row_count, length, shares):
        """Conversations, each in the first of the open rows that has room.

        Those longer than a row are left out.
        """
        rng = random.Random(f"{self.seed} batch {index}")
        rows = [[] for _ in range(row_count)]
        space = [length] * row_count
        misses = 0
        while misses < MISSES_MAX:
            encoded = self.encoder.encode(self.mixture.conversation(rng, shares))
            for row in range(row_count):
                if space[row] >= len(encoded.tokens):
                    rows[row].append(encoded)
                    space[row] -= len(encoded.tokens)
                    break
            else:
                misses += 1
        return tensors(rows, length)


def tensors(rows, length):
    shape = (len(rows), length)
    tokens = torch.full(shape, vocabulary.PAD)
    labels = torch.full(shape, IGNORED)
    positions, documents, blocks = (torch.zeros(shape, dtype=torch.int64) for _ in range(3))
    for row, conversations in enumerate(rows):
        start = block_count = 0
        for number, item in enumerate(conversations, 1):
            end = start + len(item.tokens)
            tokens[row, start:end] = torch.tensor(item.tokens)
            labels[row, start:end] = torch.tensor(item.labels)
            positions[row, start:end] = torch.arange(end - start)
            documents[row, start:end] = number
            own = torch.tensor(item.blocks)
            blocks[row, start:end] = torch.where(own > 0, own + block_count, 0)
            block_count += max(item.blocks)
            start = end
    items = [item for conversations in rows for item in conversations]
    patches = [patch for item in items for patch in item.patches]
    patch_positions = [position for item in items for position in item.patch_positions]
    frames = [frame for item in items for frame in item.frames]
    return Batch(
        tokens,
        labels,
        positions,
        documents,
        blocks,
        joined(patches, (0, 3 * media.PATCH_PIXELS**2), numpy.uint8),
        joined(patch_positions, (0, 2), numpy.int64),
        joined(frames, (0, media.SAMPLES_PER_FRAME), numpy.float32),
    )


def joined(arrays, empty_shape, dtype):
    found = numpy.concatenate(arrays) if arrays else numpy.zeros(empty_shape, dtype)
    return torch.from_numpy(found)


def embeddings(model, batch):
    """What enters the decoder: token embeddings, with media in the places of their tokens."""
    body = model.model
    found = body.language_model.embed_tokens(batch.tokens)
    if len(batch.patches):
        pixels = batch.patches.to(torch.float32) * (1 / 255)
        vectors = body.embed_vision(pixels, batch.patch_positions).pooler_output
        found = found.masked_scatter((batch.blocks > 0)[..., None], vectors.to(found.dtype))
    if len(batch.frames):
        vectors = body.embed_audio(batch.frames)
        heard = batch.tokens == vocabulary.AUDIO
        found = found.masked_scatter(heard[..., None], vectors.to(found.dtype))
    return found


def masks(batch, window, dtype):
    """Additive masks for both kinds of layers, as Facet serves them.

    A token sees earlier ones of its own conversation, and itself; on sliding layers those of the
    window alone, and later ones of its own picture.
    """
    place = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
    query, key = place[:, None], place[None, :]
    same = batch.documents[:, :, None] == batch.documents[:, None, :]
    full = same & (key <= query)
    # A padding token sees all earlier padding; what it computes is never used.
    picture = (batch.blocks[:, :, None] == batch.blocks[:, None, :]) & (batch.blocks > 0)[:, None]
    sliding = (full | picture) & (key > query - window)
    return {
        "full_attention": additive(full, dtype),
        "sliding_attention": additive(sliding, dtype),
    }


def additive(allowed, dtype):
    lowest = torch.finfo(dtype).min / 2
    zeros = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return zeros.masked_fill_(~allowed, lowest)[:, None]
