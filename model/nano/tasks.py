"""The tasks of the evaluation: questions that training cannot have held, each with one right
answer.

A task's name is what the table shows. Splits are those of corpus.py; of spoken words, "reworded"
means voices that were never trained.
"""

import random

import clips
import corpus
import dialogues
import mixture
import pictures
import sounds
import tools
from conversation import Case, Conversation
from corpus import REWORDED, UNSEEN

HISTORY = "with history"


def last_answer(conversation_messages, **options):
    """A case that asks for the last message of a conversation."""
    return Case(
        Conversation(conversation_messages[:-1], **options), conversation_messages[-1]["content"]
    )


def text_cases(kind, split, count, seed):
    """Up to `count` different questions of the kind as a conversation of one turn each."""
    rng = random.Random(f"{seed} {kind} {split}")
    found = {}
    for _ in range(20 * count):
        item = corpus.exchange(rng, kind, split)
        found.setdefault(item.question, last_answer(corpus.messages_of([item])))
        if len(found) == count:
            break
    return list(found.values())


def history_case(rng, bank):
    """A held-out question of any kind behind one to three finished turns.

    Half of them stand behind a system text too.
    """
    history = [corpus.exchange(rng, corpus.random_kind(rng)) for _ in range(rng.randrange(1, 4))]
    item = corpus.exchange(rng, corpus.random_kind(rng), UNSEEN)
    system = []
    if rng.random() < 0.5:
        system = [{"role": "system", "content": rng.choice(corpus.words.SYSTEM_TEXTS)}]
    return last_answer(system + corpus.messages_of(history + [item]))


def thinking_case(rng, bank):
    found = mixture.thoughtful(rng, UNSEEN)
    return Case(
        Conversation(found.messages[:-1], thinking=True),
        found.messages[-1]["content"],
        reasoning=True,
    )


def one_call_case(rng, bank):
    declared, question, uses = tools.one_call(rng, UNSEEN)
    return Case(Conversation([tools.user(question)], declared), calls=[use.call for use in uses])


def several_calls_case(rng, bank):
    declared, question, uses = tools.several_calls(rng, UNSEEN)
    return Case(Conversation([tools.user(question)], declared), calls=[use.call for use in uses])


def no_call_case(rng, bank):
    declared, question, answer = tools.no_call(rng, UNSEEN)
    return Case(Conversation([tools.user(question)], declared), answer, calls=[])


def result_case(rng, bank):
    kind = tools.one_call if rng.random() < 0.6 else tools.several_calls
    declared, question, uses = kind(rng, UNSEEN)
    messages = tools.called(question, uses)
    return Case(Conversation(messages[:-1], declared), messages[-1]["content"])


def picture_case(kind):
    return lambda rng, bank: last_answer(pictures.evaluation_messages(kind, rng, UNSEEN))


def words_case(split):
    def case(rng, bank):
        return last_answer(sounds.messages(*sounds.ask_words(bank, rng, split), rng))

    return case


def about_words_case(rng, bank):
    return last_answer(sounds.messages(*sounds.ask_about_words(bank, rng, UNSEEN), rng))


def tones_case(kind):
    return lambda rng, bank: last_answer(sounds.messages(*sounds.ask_tones(rng, UNSEEN, kind), rng))


def clip_case(appears):
    def case(rng, bank):
        while True:
            told = clips.story(rng, UNSEEN)
            if (told.direction is None) == appears:
                part = {"type": "video", "video": clips.film(told, rng)}
                return last_answer(pictures.with_media([part], [clips.ask(told, rng)], rng))

    return case


# task -> how a case is drawn: (random.Random, sounds.Bank or None) -> Case
DRAWN = {
    HISTORY: history_case,
    "memory": lambda rng, bank: last_answer(dialogues.memory(rng, UNSEEN)),
    "system prompt": lambda rng, bank: last_answer(dialogues.system_prompt(rng, UNSEEN)),
    "thinking": thinking_case,
    "tools: one call": one_call_case,
    "tools: several calls": several_calls_case,
    "tools: no call": no_call_case,
    "tools: from the result": result_case,
    **{kind: picture_case(kind) for kind in pictures.ASK},
    "pictures: two": picture_case("pictures: two"),
    "words": words_case(UNSEEN),
    "words, new voices": words_case(REWORDED),
    "about words": about_words_case,
    "tones: higher or lower": tones_case("pitch"),
    "tones: how many": tones_case("count"),
    "clip: appears": clip_case(True),
    "clip: moves": clip_case(False),
}
NEED_BANK = ("words", "words, new voices", "about words")
TEXT_KINDS = list(corpus.KINDS)
ALL = TEXT_KINDS + list(DRAWN)


def make(name, count, seed, bank):
    """[(task, split, cases)] of one name; a kind of text has two splits."""
    if name in corpus.KINDS:
        return [
            (name, split, text_cases(name, split, count, seed)) for split in (UNSEEN, REWORDED)
        ]
    rng = random.Random(f"{seed} {name}")
    return [(name, UNSEEN, [DRAWN[name](rng, bank) for _ in range(count)])]


