"""Conversations whose last answer depends on more than the last question.

memory         a name, a number or a colour is told, some turns pass, and it is asked for
system prompt  the system text gives a rule, and each answer keeps it

Values (names, numbers, words) are held out as in corpus.py: a tenth of them occurs in no training
conversation.
"""

import words
from corpus import (
    TRAIN,
    exchange,
    held_out,
    made_up_word,
    messages_of,
    random_kind,
)

THINGS = {
    "name": ["My name is {}.", "I am {}.", "Hello, I am {}.", "Please remember: my name is {}."],
    "number": [
        "My number is {}.",
        "Remember the number {}.",
        "Please remember the number {}.",
        "My favourite number is {}.",
    ],
    "colour": ["My favourite colour is {}.", "I like the colour {}.", "Remember the colour {}."],
    "city": ["I live in {}.", "My city is {}.", "Remember the city {}."],
}
TOLD = {
    "name": "Hello, {}! How can I help you?",
    "number": "I will remember the number {}.",
    "colour": "I will remember the colour {}.",
    "city": "I will remember the city {}.",
}
ASKED = {
    "name": ["What is my name?", "What's my name?", "Who am I?", "Do you remember my name?"],
    "number": [
        "What is my number?",
        "Which number did I tell you?",
        "What number did I say?",
        "Do you remember my number?",
    ],
    "colour": [
        "What is my favourite colour?",
        "Which colour did I tell you?",
        "What colour do I like?",
        "Do you remember my colour?",
    ],
    "city": ["What is my city?", "Where do I live?", "Which city did I tell you?"],
}
RECALLED = {
    "name": "Your name is {}.",
    "number": "Your number is {}.",
    "colour": "Your colour is {}.",
    "city": "Your city is {}.",
}
COLOURS = "red green blue yellow purple orange white black brown pink grey".split()


def draw_value(thing, rng):
    if thing == "name":
        return rng.choice(words.NAMES) if rng.random() < 0.5 else made_up_word(rng).capitalize()
    if thing == "number":
        return str(rng.randrange(2, rng.choice([100, 1000, 10000])))
    if thing == "colour":
        return rng.choice(COLOURS)
    return rng.choice(list(words.CAPITALS.values()) + words.OTHER_PLACES)


def split_value(thing, rng, split):
    """Colours are few and all trained; any other value is held out or not, whatever the seed."""
    while True:
        value = draw_value(thing, rng)
        if thing == "colour" or held_out("memory", thing, value) == (split != TRAIN):
            return value


def memory(rng, split=TRAIN):
    """One or two things are told; none to three turns later one of them is asked for."""
    things = rng.sample(list(THINGS), rng.choice([1, 1, 2]))
    messages = []
    values = {}
    for thing in things:
        values[thing] = split_value(thing, rng, split)
        messages += turn(rng.choice(THINGS[thing]), TOLD[thing], values[thing])
        messages += filler(rng, rng.randrange(0, 3 if len(things) == 1 else 2))
    thing = rng.choice(things)
    if rng.random() < 0.12:  # something that was not told
        thing = rng.choice([other for other in THINGS if other not in things])
        return messages + turn(rng.choice(ASKED[thing]), f"You have not told me your {thing}.", "")
    return messages + turn(rng.choice(ASKED[thing]), RECALLED[thing], values[thing])


def turn(question, answer, value):
    return [
        {"role": "user", "content": question.format(value)},
        {"role": "assistant", "content": answer.format(value)},
    ]


def filler(rng, count):
    kinds = ["sums", "capitals", "days", "months", "conversion", "differences"]
    return messages_of([exchange(rng, rng.choice(kinds)) for _ in range(count)])


RULES = {
    "start": [
        "Start every answer with the word {}.",
        "Begin each answer with {}.",
        "Always begin your answers with the word {}.",
    ],
    "end": [
        "End every answer with the word {}.",
        "Finish each answer with {}.",
        "Always end your answers with the word {}.",
    ],
    "title": ["Call the user {}.", "The user is called {}.", "Address the user as {}."],
    "name": ["Your name is {}.", "You are called {}.", "You are {}."],
}


def system_prompt(rng, split=TRAIN):
    """A rule, and one to three answers that keep it; the last question is of the split."""
    rule = rng.choice(list(RULES))
    while True:
        value = made_up_word(rng) if rng.random() < 0.4 else rng.choice(words.WORDS)
        if rule in ("title", "name"):
            value = value.capitalize() if rng.random() < 0.3 else rng.choice(words.NAMES)
        if held_out("rule", rule, value.lower()) == (split != TRAIN):
            break
    messages = [{"role": "system", "content": rng.choice(RULES[rule]).format(value)}]
    count = rng.choice([1, 1, 2, 3])
    for index in range(count):
        last = index == count - 1
        if rule == "name":
            question, answer = ask_name(value, rng)
        else:
            item = exchange(rng, random_kind(rng), split if last else TRAIN)
            question, answer = item.question, kept(rule, value, item.answer)
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    return messages


def ask_name(value, rng):
    question = rng.choice(
        [
            "What is your name?",
            "Who are you?",
            "What's your name?",
            "Tell me your name.",
            "What are you called?",
            "Say your name.",
        ]
    )
    return question, f"My name is {value}."


def kept(rule, value, answer):
    if rule == "start":
        return f"{value} {answer}"
    if rule == "end":
        return f"{answer} {value}"
    return f"{value}, {answer}"


