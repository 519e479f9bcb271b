"""The corpus of facet-nano: questions with one right answer each, and conversations made of them.

Every question belongs to a kind (sums, spelling, ...) and a split:

  TRAIN     what train.py learns from.
  UNSEEN    held out: a hash of what the form names (values, wording or text) puts a tenth of all
            questions here, whatever the seed. So no question of this split can occur in training.
  REWORDED  asked in wordings that training never uses, and with held-out values where the form
            holds out values.

All randomness comes from the random.Random handed in: the same seed gives the same questions.
"""

import dataclasses
import hashlib
from collections.abc import Callable

import words

TRAIN, UNSEEN, REWORDED = "train", "unseen", "reworded"

# What the held-out tenth of a form is drawn over.
VALUES = "values"  # the values alone: a held-out pair of numbers occurs in no wording at all
WORDING = "wording"  # a wording with its values: the fact is trained in other wordings
TEXT = "text"  # the question as written, with its opener, case and punctuation

OPENERS = [
    "Please tell me: ",
    "Can you tell me: ",
    "Tell me, ",
    "Hey, ",
    "Hi! ",
    "Hello. ",
    "Quick question: ",
    "I want to know: ",
    "Now: ",
    "And ",
    "Okay. ",
    "Please, ",
    "So, ",
    "My question: ",
    "Thanks. ",
]
CLOSERS = [" Please.", " Thanks!", " Thank you.", " Please tell me."]

CANNOT = (
    "Sorry, I do not know that. "
    "I can do sums, spelling, counting, unit conversion, days, months and capitals."
)


@dataclasses.dataclass(frozen=True)
class Exchange:
    kind: str
    question: str
    answer: str


@dataclasses.dataclass(frozen=True)
class Form:
    """One way to ask and answer. `draw` gives the values for the templates, and the answer."""

    draw: Callable  # (random.Random) -> (dict of fields, answer)
    templates: list
    reworded: list
    hold_out: str
    weight: float = 1
    exact: bool = False  # the answer depends on the case of the fields, so it is kept
    bare: bool = False  # takes no opener or closer


def held_out(*key):
    """True for a fixed tenth of all keys."""
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    return digest[0] * 256 + digest[1] < 6554  # a tenth of 65,536


def exchange(rng, kind, split=TRAIN):
    """Draws a question of the kind until one falls into the split."""
    forms = KINDS[kind]
    while True:
        form = rng.choices(forms, [form.weight for form in forms])[0]
        templates = form.reworded if split == REWORDED else form.templates
        if not templates:
            continue
        template = rng.choice(templates)
        fields, answer = form.draw(rng)
        question = phrase(rng, form, template, fields)
        if in_split(split, kind, form, template, fields, question):
            return Exchange(kind, question, answer)


def in_split(split, kind, form, template, fields, question):
    if form.hold_out == VALUES:
        return held_out(kind, *canonical(fields)) == (split != TRAIN)
    if split == REWORDED:
        return True
    key = (template, *canonical(fields)) if form.hold_out == WORDING else (question,)
    return held_out(kind, *key) == (split == UNSEEN)


def canonical(fields):
    """The values that make a question new: fields without an underscore before their name."""
    return sorted(str(value).lower() for name, value in fields.items() if not name.startswith("_"))


def phrase(rng, form, template, fields):
    """The template filled in, with an opener, a closer and a case as people type them."""
    if form.bare:
        text = template
    else:
        text = add_opener_and_closer(rng, template)
    style = rng.random()
    if style < 0.25:
        text = lower_outside_fields(text)
        if not form.exact:
            fields = {name: str(value).lower() for name, value in fields.items()}
    if 0.15 < style < 0.40 and text[-1] in "?.!":
        text = text[:-1]
    elif style > 0.95 and text[-1] == "?":
        text = text[:-1] + "??"
    return text.format(**fields)


def add_opener_and_closer(rng, template):
    text = template
    if rng.random() < 0.25:
        opener = rng.choice(OPENERS)
        if opener[-2] in ",:d" and text[0] != "{" and not text.startswith("I "):
            text = text[0].lower() + text[1:]
        text = opener + text
    if rng.random() < 0.12:
        text += rng.choice(CLOSERS)
    return text


def lower_outside_fields(template):
    parts = template.split("{")
    lowered = [parts[0].lower()]
    for part in parts[1:]:
        field, rest = part.split("}", 1)
        lowered.append(field + "}" + rest.lower())
    return "{".join(lowered)


# Numbers


def draw_sum(rng):
    a, b = rng.randrange(100), rng.randrange(100)
    return {"a": a, "b": b}, f"{a} + {b} = {a + b}."


def draw_difference(rng):
    a, b = rng.randrange(100), rng.randrange(100)
    a, b = max(a, b), min(a, b)
    return {"a": a, "b": b}, f"{a} - {b} = {a - b}."


def draw_large_sum(rng):
    a, b = rng.randrange(100, 10000), rng.randrange(10000)
    if rng.random() < 0.5:
        a, b = b, a
    sign = rng.choice("+-")
    return {"a": a, "b": b, "sign": sign}, "Sorry, I can only add and subtract numbers below 100."


# At most ten numbers: the question with its end is within the sliding window, and the last
# digit alone tells the end. With fifteen, the model learned the last digit and was wrong by ten.
COUNT_NUMBERS_MAX = 10


def span(rng):
    """Ends of a short stretch of numbers up to 100."""
    count = rng.randrange(2, COUNT_NUMBERS_MAX + 1)
    low = rng.randrange(1, 102 - count)
    return low, low + count - 1


def draw_count(rng):
    low, high = span(rng)
    return {"a": low, "b": high}, ", ".join(map(str, range(low, high + 1))) + "."


def draw_count_from_one(rng):
    high = rng.randrange(2, COUNT_NUMBERS_MAX + 1)
    return {"a": 1, "b": high}, ", ".join(map(str, range(1, high + 1))) + "."


def draw_count_down(rng):
    low, high = span(rng)
    return {"a": high, "b": low}, ", ".join(map(str, range(high, low - 1, -1))) + "."


def quantity(value, unit):
    return f"{value} {unit[:-1] if value == 1 else unit}"


def unit_form(rng, unit):
    """The unit as it is, or in a short or American form."""
    return rng.choice([unit] * 2 + words.UNIT_FORMS[unit])


POWERS_OF_TEN = [row for row in words.CONVERSIONS if row[2] not in (7, 60)]
TIMES = [row for row in words.CONVERSIONS if row[2] in (7, 60)]
SMALL_TIME_MAX = 24


def conversion(rng, row, value, back):
    """The way there goes from the larger unit to the smaller one.

    Both ways share the key (value, larger unit).
    """
    large, small, factor, _ = row
    fields = {
        "value": value,
        "unit": large,
        "_from": unit_form(rng, large),
        "_into": unit_form(rng, small),
    }
    if not back:
        fields["_a"] = value
        return fields, f"{quantity(value, large)} = {quantity(value * factor, small)}."
    fields |= {"_a": value * factor, "_from": fields["_into"], "_into": fields["_from"]}
    return fields, f"{quantity(value * factor, small)} = {quantity(value, large)}."


def draw_decimal_conversion(rng):
    row = rng.choice(POWERS_OF_TEN)
    value = rng.choice([rng.randrange(1, 100), rng.randrange(1, row[3] + 1)])
    return conversion(rng, row, value, back=rng.random() < 0.45)


def draw_time(rng):
    """Times past the closed table: real multiplication."""
    row = rng.choice(TIMES)
    return conversion(rng, row, rng.randrange(SMALL_TIME_MAX + 1, row[3] + 1), back=False)


def draw_small_time(rng):
    """A closed table, learned both ways."""
    row = rng.choice(TIMES)
    return conversion(rng, row, rng.randrange(1, SMALL_TIME_MAX + 1), back=rng.random() < 0.5)


# Words


def made_up_word(rng):
    if rng.random() < 0.3:
        return "".join(
            rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(3, 10))
        )
    syllables = rng.randrange(1, 5)
    word = "".join(
        rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiouy") for _ in range(syllables)
    )
    endings = ["", "n", "r", "s", "t", "ll", "st", "ng"] if syllables > 1 else "nrtskl"
    return word + rng.choice(endings)


def draw_spelling(rng):
    word = made_up_word(rng) if rng.random() < 0.6 else rng.choice(words.WORDS)
    if rng.random() < 0.15:
        word = word.capitalize()
    return {"word": word}, "-".join(word)


def draw_letter_count(rng):
    word = made_up_word(rng) if rng.random() < 0.5 else rng.choice(words.WORDS)
    return {"word": word}, f"{'-'.join(word)}: {len(word)} letters."


# Calendar


def draw_next_day(rng):
    day = rng.randrange(7)
    name, following = words.DAYS[day], words.DAYS[(day + 1) % 7]
    return {"day": name}, f"The day after {name} is {following}."


def draw_previous_day(rng):
    day = rng.randrange(7)
    name, previous = words.DAYS[day], words.DAYS[(day + 6) % 7]
    return {"day": name}, f"The day before {name} is {previous}."


def draw_day_offset(rng):
    day, offset = rng.randrange(7), rng.randrange(2, 7)
    answer = f"{offset} days after {words.DAYS[day]} is {words.DAYS[(day + offset) % 7]}."
    return {"n": offset, "day": words.DAYS[day]}, answer


def draw_day_number(rng):
    day = rng.randrange(7)
    return {"day": words.DAYS[day]}, f"{words.DAYS[day]} is day {day + 1} of the week."


def draw_day_by_number(rng):
    day = rng.randrange(7)
    return {
        "ordinal": words.ORDINALS[day]
    }, f"The {words.ORDINALS[day]} day of the week is {words.DAYS[day]}."


def draw_next_month(rng):
    month = rng.randrange(12)
    name, following = words.MONTHS[month][0], words.MONTHS[(month + 1) % 12][0]
    return {"month": name}, f"The month after {name} is {following}."


def draw_previous_month(rng):
    month = rng.randrange(12)
    name, previous = words.MONTHS[month][0], words.MONTHS[(month + 11) % 12][0]
    return {"month": name}, f"The month before {name} is {previous}."


def draw_month_number(rng):
    month = rng.randrange(12)
    name = words.MONTHS[month][0]
    return {"month": name}, f"{name} is month {month + 1} of the year."


def draw_month_by_number(rng):
    month = rng.randrange(12)
    ordinal = words.ORDINALS[month]
    return {"ordinal": ordinal}, f"The {ordinal} month is {words.MONTHS[month][0]}."


def draw_month_length(rng):
    name, days = rng.choice(words.MONTHS)
    if name == "February":
        return {"month": name}, "February has 28 days, and 29 in a leap year."
    return {"month": name}, f"{name} has {days} days."


def draw_date_offset(rng):
    """Some days later, in a common year."""
    month = rng.randrange(12)
    name, length = words.MONTHS[month]
    offset = rng.choice([1, 1, rng.randrange(2, 10)])
    day = rng.randrange(1, length + 1)
    if rng.random() < 0.5:  # often past the end of the month
        day = rng.randrange(length - 9, length + 1)
    later, later_name = day + offset, name
    if later > length:
        later, later_name = later - length, words.MONTHS[(month + 1) % 12][0]
    days = "1 day" if offset == 1 else f"{offset} days"
    fields = {"n": offset, "_days": days, "day": day, "month": name}
    return fields, f"{days} after {day} {name} is {later} {later_name}."


def draw_sorting(rng):
    """Three words with different first letters."""
    while True:
        found = [
            made_up_word(rng) if rng.random() < 0.3 else rng.choice(words.WORDS) for _ in range(3)
        ]
        if len({word[0] for word in found}) == 3:
            fields = dict(zip(("a", "b", "c"), found))
            return fields, ", ".join(sorted(found)) + "."


def fixed(answer):
    """A form with one answer; its templates have no fields, or only such as vary the wording."""
    return lambda rng: ({}, answer)


# Places


def draw_capital(rng):
    country = rng.choice(list(words.CAPITALS))
    return {"country": country}, f"The capital of {country} is {words.CAPITALS[country]}."


def draw_country(rng):
    country = rng.choice(list(words.CAPITALS))
    city = words.CAPITALS[country]
    return {"city": city}, f"{city} is the capital of {country}."


def draw_unknown_capital(rng):
    place = rng.choice(words.OTHER_PLACES) if rng.random() < 0.5 else made_up_word(rng).capitalize()
    return {"country": place}, "Sorry, I do not know that capital."


# Talk


def draw_name(rng):
    name = rng.choice(words.NAMES) if rng.random() < 0.5 else made_up_word(rng).capitalize()
    return {"name": name, "_hello": rng.choice(HELLOS)}, f"Hello, {name}! How can I help you?"


HELLOS = [
    "Hello",
    "Hi",
    "Hey",
    "Hi there",
    "Hello there",
    "Greetings",
    "Good day",
    "Hallo",
    "Howdy",
    "Hey there",
]
TAILS = [
    "",
    "",
    "",
    " Facet",
    " Facet Nano",
    " my friend",
    " again",
    ", nice to meet you",
    " everyone",
    ", how nice",
    " you",
]


def draw_hello(rng):
    fields = {
        "hello": rng.choice(HELLOS),
        "tail": rng.choice(TAILS),
        "mark": rng.choice(["", "!", ".", "!!", "?"]),
    }
    return fields, "Hello! How can I help you?"


def draw_time_of_day(rng):
    part = rng.choice(["morning", "afternoon", "evening"])
    fields = {"part": part, "tail": rng.choice(TAILS), "mark": rng.choice(["", "!", ".", "!!"])}
    return fields, f"Good {part}! How can I help you?"


def draw_closing(rng):
    return {"tail": rng.choice(TAILS), "mark": rng.choice(["", "!", ".", "!!"])}


def closing(answer):
    return lambda rng: (draw_closing(rng), answer)


def draw_out_of_scope(rng):
    def thing():
        return made_up_word(rng) if rng.random() < 0.3 else rng.choice(words.WORDS)

    def place():
        return rng.choice(words.OTHER_PLACES + list(words.CAPITALS) + list(words.CAPITALS.values()))

    fields = {"thing": thing(), "thing2": thing(), "place": place(), "place2": place()}
    return fields | {"name": rng.choice(words.NAMES), "name2": rng.choice(words.NAMES)}, CANNOT


def draw_gibberish(rng):
    return {"text": " ".join(made_up_word(rng) for _ in range(rng.randrange(1, 6)))}, CANNOT


CONVERSION_TEMPLATES = [
    "How many {_into} are {_a} {_from}?",
    "How many {_into} are in {_a} {_from}?",
    "Convert {_a} {_from} to {_into}.",
    "Convert {_a} {_from} into {_into}.",
    "What is {_a} {_from} in {_into}?",
    "{_a} {_from} in {_into}?",
    "{_a} {_from} to {_into}",
    "{_a} {_from} are how many {_into}?",
    "How many {_into} make {_a} {_from}?",
    "How many {_into} is {_a} {_from}?",
    "Turn {_a} {_from} into {_into}.",
    "{_a} {_from} = ? {_into}",
]
CONVERSION_REWORDED = [
    "Express {_a} {_from} in {_into}.",
    "I have {_a} {_from}. How many {_into} is that?",
    "Give me {_a} {_from} in {_into}.",
]

CAPITAL_TEMPLATES = [
    "What is the capital of {country}?",
    "What's the capital of {country}?",
    "Which city is the capital of {country}?",
    "Name the capital of {country}.",
    "Tell me the capital of {country}.",
    "The capital of {country} is what?",
    "Capital of {country}?",
    "What is the capital city of {country}?",
    "Do you know the capital of {country}?",
    "Give me the capital of {country}.",
    "What is {country}'s capital?",
    "{country}: what is the capital?",
]
CAPITAL_REWORDED = [
    "Which capital does {country} have?",
    "What is the name of the capital of {country}?",
    "I need the capital of {country}.",
]

# kind -> its forms. The order is the order of the evaluation's table.
KINDS = {
    "greetings": [
        Form(
            draw_hello,
            ["{hello}{tail}{mark}"],
            ["Oh, {hello}{tail}{mark}"],
            TEXT,
            weight=3,
            bare=True,
        ),
        Form(
            draw_time_of_day,
            ["Good {part}{tail}{mark}"],
            ["A good {part}{tail}{mark}"],
            TEXT,
            bare=True,
        ),
        Form(
            draw_name,
            [
                "{_hello}, I am {name}.",
                "{_hello}, my name is {name}.",
                "My name is {name}.",
                "I am {name}.",
                "I'm {name}.",
                "{_hello}! I'm {name}.",
                "{_hello}, this is {name}.",
                "{name} here.",
                "{_hello}, {name} is my name.",
                "People call me {name}.",
                "You can call me {name}.",
            ],
            ["{_hello}! They call me {name}.", "{_hello}, it's me, {name}."],
            VALUES,
            weight=2,
            exact=True,
            bare=True,
        ),
        Form(
            closing("I am fine, thank you. How can I help you?"),
            [
                "How are you{tail}?",
                "How are you doing{tail}?",
                "How do you do{tail}?",
                "How are you today{tail}?",
                "Hello, how are you{tail}?",
                "Hi, how are you{tail}?",
                "How is it going{tail}?",
                "Are you well{tail}?",
                "How do you feel{tail}?",
                "What's up{tail}?",
            ],
            ["How have you been{tail}?", "Hey, how are things{tail}?"],
            TEXT,
            bare=True,
        ),
        Form(
            closing("You are welcome!"),
            [
                "Thanks{tail}{mark}",
                "Thank you{tail}{mark}",
                "Thank you very much{tail}{mark}",
                "Many thanks{tail}{mark}",
                "Great, thanks{tail}{mark}",
                "Thanks a lot{tail}{mark}",
                "That was helpful{tail}{mark}",
                "Good answer{tail}{mark}",
                "Well done{tail}{mark}",
            ],
            ["Perfect, thank you{tail}{mark}", "Okay, many thanks{tail}{mark}"],
            TEXT,
            bare=True,
        ),
        Form(
            closing("Goodbye!"),
            [
                "Bye{tail}{mark}",
                "Goodbye{tail}{mark}",
                "Bye bye{tail}{mark}",
                "See you{tail}{mark}",
                "See you later{tail}{mark}",
                "See you tomorrow{tail}{mark}",
                "Good night{tail}{mark}",
                "I have to go{tail}{mark}",
                "Farewell{tail}{mark}",
            ],
            ["Okay, bye{tail}{mark}", "Thanks, bye{tail}{mark}"],
            TEXT,
            bare=True,
        ),
    ],
    "identity": [
        Form(
            fixed("I am Facet Nano, a small Gemma 4 model."),
            [
                "Who are you?",
                "What are you?",
                "What is your name?",
                "What's your name?",
                "Who am I talking to?",
                "Who is this?",
                "What do I call you?",
                "Introduce yourself.",
                "Tell me about yourself.",
                "Tell me who you are.",
                "Which model are you?",
                "What model are you?",
                "What kind of model are you?",
                "Do you have a name?",
                "Say your name.",
                "Your name?",
                "Are you Gemma?",
                "Are you Facet Nano?",
                "What is Facet Nano?",
                "Who are you really?",
            ],
            ["Who is speaking?", "What should I call you?", "Tell me your name."],
            TEXT,
            weight=2,
        ),
        Form(
            fixed("I can do sums, spelling, counting, unit conversion, days, months and capitals."),
            [
                "What can you do?",
                "What do you know?",
                "How can you help me?",
                "What can I ask you?",
                "Can you help me?",
                "Help!",
                "I need help.",
                "What are you good at?",
                "What are your skills?",
                "List your abilities.",
                "What questions can you answer?",
                "What are you for?",
                "Give me an example of what you can do.",
                "Tell me what you can do.",
                "How do I use you?",
            ],
            ["What are you able to do?", "Which questions can I ask?"],
            TEXT,
            weight=2,
        ),
        Form(
            fixed("The Facet project trained me from nothing, on sentences that a program wrote."),
            [
                "Who made you?",
                "Who trained you?",
                "Who built you?",
                "Who created you?",
                "Where do you come from?",
                "How were you made?",
                "How were you trained?",
                "What were you trained on?",
                "Who is your maker?",
                "Did Google make you?",
                "Are you made by Google?",
            ],
            ["Who wrote you?", "By whom were you made?"],
            TEXT,
        ),
        Form(
            fixed("No, I am a small language model."),
            [
                "Are you human?",
                "Are you a human?",
                "Are you a person?",
                "Are you a man?",
                "Are you a woman?",
                "Are you alive?",
                "Are you real?",
                "Do you have feelings?",
                "Do you sleep?",
                "Are you a large model?",
                "Do you have a body?",
            ],
            ["Are you a real person?", "Are you a living being?"],
            TEXT,
        ),
    ],
    "sums": [
        Form(
            draw_sum,
            [
                "What is {a} + {b}?",
                "What is {a} plus {b}?",
                "{a} + {b}",
                "{a}+{b}",
                "{a} + {b} = ?",
                "{a} plus {b}?",
                "How much is {a} + {b}?",
                "How much is {a} plus {b}?",
                "Add {a} and {b}.",
                "Add {b} to {a}.",
                "What is the sum of {a} and {b}?",
                "Calculate {a} + {b}.",
                "What do you get if you add {a} and {b}?",
                "What does {a} + {b} make?",
            ],
            [
                "Compute {a} + {b}.",
                "Give me the sum of {a} and {b}.",
                "What do {a} and {b} add up to?",
            ],
            VALUES,
        )
    ],
    "differences": [
        Form(
            draw_difference,
            [
                "What is {a} - {b}?",
                "What is {a} minus {b}?",
                "{a} - {b}",
                "{a}-{b}",
                "{a} - {b} = ?",
                "{a} minus {b}?",
                "How much is {a} - {b}?",
                "How much is {a} minus {b}?",
                "Subtract {b} from {a}.",
                "Take {b} away from {a}.",
                "What is the difference of {a} and {b}?",
                "Calculate {a} - {b}.",
            ],
            ["Compute {a} - {b}.", "Give me the difference of {a} and {b}."],
            VALUES,
        )
    ],
    "spelling": [
        Form(
            draw_spelling,
            [
                "Spell {word}.",
                "Spell the word {word}.",
                "How do you spell {word}?",
                "How is {word} spelled?",
                'Spell "{word}".',
                "What are the letters of {word}?",
                "Spell out {word}.",
                "Can you spell {word}?",
                "Give me the spelling of {word}.",
                "{word}: how do you spell that?",
            ],
            [
                "How do I write {word}?",
                "List the letters of {word}.",
                "I cannot spell {word}. Can you?",
            ],
            VALUES,
            weight=4,
            exact=True,
        ),
        Form(
            draw_letter_count,
            [
                "How many letters does {word} have?",
                "How many letters are in {word}?",
                "Count the letters of {word}.",
                "How long is the word {word}?",
                'How many letters are there in "{word}"?',
            ],
            ["What is the number of letters in {word}?"],
            VALUES,
            exact=True,
        ),
    ],
    "days": [
        Form(
            draw_next_day,
            [
                "What day comes after {day}?",
                "Which day comes after {day}?",
                "What is the day after {day}?",
                "What day follows {day}?",
                "Which day is after {day}?",
                "Today is {day}. What day is tomorrow?",
                "If today is {day}, what is tomorrow?",
                "Name the day after {day}.",
                "What comes after {day}?",
            ],
            ["After {day} comes which day?", "What is the next day after {day}?"],
            WORDING,
        ),
        Form(
            draw_previous_day,
            [
                "What day comes before {day}?",
                "Which day comes before {day}?",
                "What is the day before {day}?",
                "Which day is before {day}?",
                "Today is {day}. What day was yesterday?",
                "If today is {day}, what was yesterday?",
                "Name the day before {day}.",
                "What comes before {day}?",
            ],
            ["Before {day} comes which day?", "What day is right before {day}?"],
            WORDING,
        ),
        Form(
            draw_day_offset,
            [
                "What day is {n} days after {day}?",
                "Which day is {n} days after {day}?",
                "What day comes {n} days after {day}?",
                "Today is {day}. What day is it in {n} days?",
                "If today is {day}, what day is it in {n} days?",
                "{n} days after {day}?",
                "Name the day {n} days after {day}.",
            ],
            ["It is {day}. Which day is {n} days later?"],
            WORDING,
        ),
        Form(
            draw_day_number,
            [
                "Which day of the week is {day}?",
                "What number is {day} in the week?",
                "What is the number of {day}?",
                "Which number has {day}?",
                "{day} is which day of the week?",
            ],
            ["What place has {day} in the week?"],
            WORDING,
            weight=0.5,
        ),
        Form(
            draw_day_by_number,
            [
                "What is the {ordinal} day of the week?",
                "Which day is the {ordinal} day of the week?",
                "Name the {ordinal} day of the week.",
                "Which is the {ordinal} day?",
                "Tell me the {ordinal} day of the week.",
            ],
            ["What is the name of the {ordinal} day of the week?"],
            WORDING,
            weight=0.5,
        ),
    ],
    "months": [
        Form(
            draw_next_month,
            [
                "What month comes after {month}?",
                "Which month comes after {month}?",
                "What is the month after {month}?",
                "What month follows {month}?",
                "Which month is after {month}?",
                "It is {month}. What is the next month?",
                "Name the month after {month}.",
                "What comes after {month}?",
            ],
            ["After {month} comes which month?", "What is the next month after {month}?"],
            WORDING,
        ),
        Form(
            draw_previous_month,
            [
                "What month comes before {month}?",
                "Which month comes before {month}?",
                "What is the month before {month}?",
                "Which month is before {month}?",
                "It is {month}. What was the last month?",
                "Name the month before {month}.",
                "What comes before {month}?",
            ],
            ["Before {month} comes which month?", "What month is right before {month}?"],
            WORDING,
        ),
        Form(
            draw_month_number,
            [
                "Which month of the year is {month}?",
                "What number is {month}?",
                "What is the number of {month}?",
                "Which number has {month}?",
                "{month} is which month of the year?",
                "{month} is month number what?",
            ],
            ["What place has {month} in the year?"],
            WORDING,
        ),
        Form(
            draw_month_by_number,
            [
                "What is the {ordinal} month?",
                "What is the {ordinal} month of the year?",
                "Which month is the {ordinal} month of the year?",
                "Name the {ordinal} month.",
                "Which is the {ordinal} month?",
                "Tell me the {ordinal} month of the year.",
            ],
            ["What is the name of the {ordinal} month of the year?"],
            WORDING,
        ),
        Form(
            draw_month_length,
            [
                "How many days does {month} have?",
                "How many days are in {month}?",
                "How many days has {month}?",
                "How long is {month}?",
                "How many days are there in {month}?",
                "What is the number of days in {month}?",
            ],
            ["{month} has how many days?", "Does {month} have 30 or 31 days?"],
            WORDING,
        ),
    ],
    "dates": [
        Form(
            draw_date_offset,
            [
                "What date is {_days} after {day} {month}?",
                "Which date is {_days} after {day} {month}?",
                "Today is {day} {month}. What date is it in {_days}?",
                "If today is {day} {month}, what date is it in {_days}?",
                "What date comes {_days} after {day} {month}?",
                "{_days} after {day} {month}?",
            ],
            ["It is {day} {month}. Which date is {_days} later?"],
            VALUES,
        )
    ],
    "sorting": [
        Form(
            draw_sorting,
            [
                "Sort these words: {a}, {b}, {c}.",
                "Sort {a}, {b}, {c}.",
                "Sort the words {a}, {b} and {c}.",
                "Put these words in order: {a}, {b}, {c}.",
                "Put {a}, {b} and {c} in alphabetical order.",
                "What is the alphabetical order of {a}, {b} and {c}?",
                "Order these words: {a} {b} {c}.",
            ],
            ["Please arrange {a}, {b} and {c} by the alphabet."],
            VALUES,
            exact=True,
        )
    ],
    "conversion": [
        Form(draw_decimal_conversion, CONVERSION_TEMPLATES, CONVERSION_REWORDED, VALUES, weight=6),
        Form(draw_time, CONVERSION_TEMPLATES, CONVERSION_REWORDED, VALUES, weight=3),
        Form(draw_small_time, CONVERSION_TEMPLATES, CONVERSION_REWORDED, WORDING, weight=2),
    ],
    "capitals": [
        Form(draw_capital, CAPITAL_TEMPLATES, CAPITAL_REWORDED, WORDING, weight=3),
        Form(
            draw_country,
            [
                "{city} is the capital of which country?",
                "Which country has the capital {city}?",
                "What country is {city} the capital of?",
                "Of which country is {city} the capital?",
                "{city} is the capital of what?",
                "Which country's capital is {city}?",
                "Name the country with the capital {city}.",
            ],
            [
                "The capital {city} belongs to which country?",
                "To which country does the capital {city} belong?",
            ],
            WORDING,
        ),
    ],
    "counting": [
        Form(
            draw_count,
            [
                "Count from {a} to {b}.",
                "Please count from {a} to {b}.",
                "Can you count from {a} to {b}?",
                "Count up from {a} to {b}.",
                "List the numbers from {a} to {b}.",
                "Say the numbers from {a} to {b}.",
                "Name all numbers from {a} to {b}.",
                "Numbers from {a} to {b}",
            ],
            ["Start at {a} and count to {b}.", "Write the numbers {a} to {b}."],
            VALUES,
            weight=3,
        ),
        Form(
            draw_count_from_one,
            [
                "Count to {b}.",
                "Please count to {b}.",
                "Can you count to {b}?",
                "Count up to {b}.",
                "Count till {b}.",
            ],
            ["Start at one and count to {b}."],
            VALUES,
        ),
        Form(
            draw_count_down,
            [
                "Count down from {a} to {b}.",
                "Count backwards from {a} to {b}.",
                "Please count down from {a} to {b}.",
                "Can you count down from {a} to {b}?",
                "Count back from {a} to {b}.",
            ],
            ["Start at {a} and count down to {b}."],
            VALUES,
        ),
    ],
    "lists": [
        Form(
            fixed(", ".join(words.DAYS) + "."),
            [
                "Name the days of the week.",
                "What are the days of the week?",
                "List the days of the week.",
                "Tell me the days of the week.",
                "Say all days of the week.",
                "Which days does a week have?",
                "Can you name the seven days of the week?",
                "Give me the days of the week.",
            ],
            ["Recite the days of the week.", "List all seven days."],
            TEXT,
        ),
        Form(
            fixed(", ".join(name for name, _ in words.MONTHS) + "."),
            [
                "Name the months of the year.",
                "What are the months of the year?",
                "List the months of the year.",
                "Tell me the months of the year.",
                "Say all months of the year.",
                "Which months does a year have?",
                "Can you name the twelve months?",
                "Give me the months of the year.",
            ],
            ["Recite the months of the year.", "List all twelve months."],
            TEXT,
        ),
        Form(
            fixed(", ".join("abcdefghijklmnopqrstuvwxyz") + "."),
            [
                "Say the alphabet.",
                "What is the alphabet?",
                "List the letters of the alphabet.",
                "Tell me the alphabet.",
                "Name all letters of the alphabet.",
                "Can you say the alphabet?",
                "Give me the alphabet.",
                "What are the letters of the alphabet?",
            ],
            ["Recite the alphabet.", "Write down the alphabet."],
            TEXT,
        ),
    ],
    "out of scope": [
        Form(draw_out_of_scope, words.OUT_OF_SCOPE, words.OUT_OF_SCOPE_REWORDED, TEXT, weight=4),
        Form(
            draw_gibberish,
            ["{text}", "{text}?", "What is {text}?", "{text}."],
            ["Tell me {text}."],
            VALUES,
            weight=0.6,
        ),
        Form(draw_unknown_capital, CAPITAL_TEMPLATES, CAPITAL_REWORDED, VALUES),
        Form(
            draw_large_sum,
            [
                "What is {a} {sign} {b}?",
                "{a} {sign} {b}",
                "How much is {a} {sign} {b}?",
                "Calculate {a} {sign} {b}.",
            ],
            ["Compute {a} {sign} {b}."],
            VALUES,
            weight=0.6,
        ),
    ],
}

# Share of each kind in the training mix, by exchanges.
WEIGHTS = {
    "greetings": 7,
    "identity": 7,
    "sums": 20,
    "differences": 14,
    "spelling": 22,
    "days": 14,
    "months": 7,
    "dates": 20,
    "sorting": 20,
    "conversion": 24,
    "capitals": 18,
    "counting": 10,
    "lists": 1,
    "out of scope": 14,
}

TURN_COUNT_WEIGHTS = {1: 0.5, 2: 0.25, 3: 0.15, 4: 0.1}


def random_kind(rng):
    return rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]


def conversation(rng):
    """Messages of a training conversation.

    One to four turns of independent questions, sometimes behind a system text.
    """
    turn_count = rng.choices(list(TURN_COUNT_WEIGHTS), list(TURN_COUNT_WEIGHTS.values()))[0]
    exchanges = [exchange(rng, random_kind(rng)) for _ in range(turn_count)]
    return system_message(rng) + messages_of(exchanges)


def system_message(rng):
    if rng.random() < 0.15:
        return [{"role": "system", "content": rng.choice(words.SYSTEM_TEXTS)}]
    return []


def messages_of(exchanges):
    messages = []
    for item in exchanges:
        messages.append({"role": "user", "content": item.question})
        messages.append({"role": "assistant", "content": item.answer})
    return messages
