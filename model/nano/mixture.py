"""What a training row holds: conversations of all tasks, by weight.

Rows are short or long; clips and tools need long ones. Sounds need the bank of spoken words
(sounds.Bank); without one (None) no sound is drawn.
"""

import clips
import corpus
import dialogues
import pictures
import sounds
import thinking
import tools
from conversation import Conversation

# task -> share of conversations in rows of each length
SHORT = {
    "text": 8,
    "memory": 1.2,
    "system prompt": 2.5,
    "thinking": 2,
    "picture": 9,
    "one shape": 1,
    "two pictures": 1,
    "sound": 6,
}
LONG = {
    "text": 0.5,
    "memory": 0.5,
    "tools": 6,
    "tools with thinking": 1,
    "clip": 5,
    "two pictures": 1,
}
# The first steps of all. What shape a thing has is one token among many of an answer, and no pixel
# tells it alone: in the full mixture 5,000 steps did not teach it; by itself, 100 do.
FIRST = {"one shape": 1}
TEXT = {
    "text": 7,
    "memory": 2,
    "system prompt": 2,
    "thinking": 2,
    "tools": 3.5,
    "tools with thinking": 0.7,
}
# What a drafter is trained on.
TEXT_ONLY = {"text": 7, "memory": 2, "system prompt": 1.5, "thinking": 1.5}
# One minute in a test: everything but sounds, which need espeak-ng.
SMOKE = {"text": 7, "picture": 1, "memory": 1}


class Mixture:
    """Draws training conversations. One thread."""

    def __init__(self, bank):
        self.bank = bank

    def conversation(self, rng, shares):
        task = rng.choices(list(shares), list(shares.values()))[0]
        if task == "text":
            return Conversation(corpus.conversation(rng))
        if task == "memory":
            return Conversation(dialogues.memory(rng))
        if task == "system prompt":
            return Conversation(dialogues.system_prompt(rng))
        if task == "thinking":
            return thoughtful(rng, corpus.TRAIN)
        if task == "picture":
            return Conversation(pictures.conversation(rng))
        if task == "one shape":
            return Conversation(pictures.shape_conversation(rng))
        if task == "two pictures":
            return Conversation(pictures.two_conversation(rng))
        if task == "clip":
            return Conversation(clips.conversation(rng))
        if task == "sound" and self.bank:
            return Conversation(sounds.conversation(self.bank, rng))
        return tools.conversation(rng, thinking=task == "tools with thinking")


def thoughtful(rng, split):
    """A text question with thinking on, half of the time behind a finished turn."""
    history = []
    if rng.random() < 0.5:
        history = corpus.messages_of([corpus.exchange(rng, corpus.random_kind(rng))])
    kind = rng.choice(["sums", "differences", "sorting", corpus.random_kind(rng)])
    item = corpus.exchange(rng, kind, split)
    messages = history + corpus.messages_of([item])
    messages[-1]["reasoning"] = thinking.steps(kind, item.question, item.answer)
    return Conversation(messages, thinking=True)
