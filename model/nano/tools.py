"""Conversations with tools: one call, several calls, no call, and the answer made of the results.

Four tools are known (calculator, weather, convert, calendar); up to three of them and one to three
distractors are declared, in random order. A tool is called if it is declared and fits; else the
model answers as it does without tools. Values (expressions, cities, quantities, days with times)
are held out as in corpus.py.
"""

import words
from conversation import Conversation
from corpus import CANNOT, TRAIN, exchange, held_out

STRING, NUMBER = {"type": "string"}, {"type": "number"}


def tool(name, description, **properties):
    return {
        "name": name,
        "description": description,
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": sorted(properties),
        },
    }


TOOLS = {
    "calculator": tool("calculator", "The value of an expression", expression=STRING),
    "weather": tool("weather", "The current weather of a city", city=STRING),
    "convert": tool("convert", "Convert a value to a unit", value=NUMBER, unit=STRING, to=STRING),
    "calendar": tool("calendar", "The calendar of a day", day=STRING),
}
DISTRACTORS = [
    tool("email", "Send an email message", to=STRING, message=STRING),
    tool("search", "Search the question", question=STRING),
    tool("translate", "Translate a word", word=STRING, to=STRING),
    tool("alarm", "Start an alarm", minutes=NUMBER),
    tool("music", "Play a song", song=STRING),
    tool("light", "Light on or off", light=STRING),
    tool("stock", "The price of a stock", stock=STRING),
]

CITIES = list(words.CAPITALS.values()) + """
Hamburg Munich Lyon Milan Porto Seville Krakow Leeds
Boston Chicago Denver Dallas Seattle Osaka Mumbai Lagos Perth Sydney Geneva Zurich Basel Bergen
Malmo Turin Naples Bremen Toronto Quebec Lima Cusco Izmir""".split()
SKIES = "sunny cloudy rainy windy foggy stormy snowy clear".split()
EVENTS = "dentist meeting lunch dinner yoga football concert party lesson doctor train call".split()
UNITS = ["miles", "kilometres", "pounds", "kilograms", "feet", "metres", "inches", "centimetres"]
CALLS_SHARE = 0.6  # of the training conversations with calls: those that end with them
SIGNS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}


class Draw:
    """One use of a tool: what it is asked with, its arguments, its result, and the answer."""

    def __init__(self, name, arguments, ask, many, result, answer):
        self.name = name
        self.arguments = arguments
        self.ask = ask  # whole questions
        self.many = many  # as one of several wishes, such as "the weather in Oslo"
        self.result = result
        self.answer = answer

    @property
    def call(self):
        return {"name": self.name, "arguments": self.arguments}


def draw_calculator(rng):
    a, b = rng.randrange(2, rng.choice([100, 1000, 10000])), rng.randrange(2, 1000)
    sign = rng.choice(list(SIGNS))
    if sign == "/":
        result, a = a, a * b
    else:
        result = {"+": a + b, "-": a - b, "*": a * b}[sign]
    expression = f"{a} {sign} {b}"
    spoken = f"{a} {SIGNS[sign]} {b}" if rng.random() < 0.3 else expression
    ask = [
        f"What is {spoken}?",
        f"Calculate {spoken}.",
        f"How much is {spoken}?",
        f"Please calculate {spoken}.",
        spoken,
    ]
    arguments = {"expression": expression}
    return Draw("calculator", arguments, ask, spoken, str(result), f"{expression} = {result}.")


def draw_weather(rng):
    city = rng.choice(CITIES)
    result = f"{rng.choice(SKIES)}, {rng.randrange(-9, 40)} degrees"
    ask = [
        f"What is the weather in {city}?",
        f"How is the weather in {city}?",
        f"What's the weather like in {city}?",
        f"Weather in {city}?",
        f"Tell me the weather in {city}.",
        f"Is it sunny in {city}?",
    ]
    answer = f"The weather in {city} is {result}."
    return Draw("weather", {"city": city}, ask, f"the weather in {city}", result, answer)


def draw_convert(rng):
    value = rng.randrange(2, rng.choice([20, 100, 1000]))
    unit, to = rng.sample(UNITS, 2)
    result = f"{rng.randrange(1, 1000)}.{rng.randrange(10)}"
    ask = [
        f"Convert {value} {unit} to {to}.",
        f"How many {to} are {value} {unit}?",
        f"What is {value} {unit} in {to}?",
        f"{value} {unit} in {to}?",
        f"How many {to} is {value} {unit}?",
    ]
    arguments = {"value": value, "unit": unit, "to": to}
    answer = f"{value} {unit} = {result} {to}."
    return Draw("convert", arguments, ask, f"{value} {unit} in {to}", result, answer)


def draw_calendar(rng):
    day = rng.choice(words.DAYS + ["today", "tomorrow"])
    result = f"{rng.choice(EVENTS)} at {rng.randrange(7, 22)}:{rng.choice(['00', '15', '30', '45'])}"
    on = day if day in ("today", "tomorrow") else f"on {day}"
    ask = [
        f"What is on my calendar {on}?",
        f"What do I have {on}?",
        f"Do I have time {on}?",
        f"Show me my calendar {on}.",
        f"What are my plans {on}?",
    ]
    answer = f"{capitalised(on)}: {result}."
    return Draw("calendar", {"day": day}, ask, f"my calendar {on}", result, answer)


def capitalised(word):
    return word[0].upper() + word[1:]


DRAWS = {
    "calculator": draw_calculator,
    "weather": draw_weather,
    "convert": draw_convert,
    "calendar": draw_calendar,
}


def draw(name, rng, split):
    """Days are few and all trained; other values are held out or not, whatever the seed."""
    while True:
        found = DRAWS[name](rng)
        values = sorted(map(str, found.arguments.values()))
        if name == "calendar" or held_out("tool", name, *values) == (split != TRAIN):
            return found


def declared(rng, names):
    others = [name for name in TOOLS if name not in names]
    extra = rng.sample(others, min(len(others), rng.choice([0, 1, 2])))
    tools = [TOOLS[name] for name in list(names) + extra]
    tools += rng.sample(DISTRACTORS, rng.choice([0, 1, 1, 2]))
    rng.shuffle(tools)
    return tuple(tools)


def thought(names):
    return " ".join(f"I need the tool {name}." for name in names)


def one_call(rng, split, name=None):
    """(tools, question, uses of the tools)"""
    name = name or rng.choice(list(TOOLS))
    use = draw(name, rng, split)
    return declared(rng, {name}), rng.choice(use.ask), [use]


def several_calls(rng, split):
    names = rng.choice([rng.sample(list(TOOLS), 2), [rng.choice(["weather", "calculator"])] * 2])
    uses = [draw(name, rng, split) for name in names]
    joined = " and ".join(use.many for use in uses)
    question = rng.choice(
        [
            f"What is {joined}?",
            f"Tell me {joined}.",
            f"I want to know {joined}.",
            f"Give me {joined}.",
        ]
    )
    return declared(rng, set(names)), question, uses


def no_call(rng, split):
    """(tools, question, answer): nothing that is declared fits."""
    tools = tuple(rng.sample(DISTRACTORS, rng.choice([1, 2, 3])))
    if rng.random() < 0.4:
        missing = rng.choice(["weather", "calendar"])
        known = [TOOLS[name] for name in TOOLS if name != missing]
        tools = tools[:2] + tuple(rng.sample(known, rng.choice([1, 2])))
        return shuffled(rng, tools), rng.choice(draw(missing, rng, split).ask), CANNOT
    tools = tools[:2] + tuple(rng.sample(list(TOOLS.values()), rng.choice([1, 2])))
    kinds = ["greetings", "identity", "spelling", "days", "months", "capitals", "dates", "sorting"]
    item = exchange(rng, rng.choice(kinds), split)
    return shuffled(rng, tools), item.question, item.answer


def shuffled(rng, tools):
    return tuple(rng.sample(tools, len(tools)))


def conversation(rng, split=TRAIN, thinking=False):
    """A training conversation: an answer alone, calls, or calls with their results and the answer.

    Without thinking the prompt of a call is not the beginning of the prompt of its answer (see
    prompt.segments), so each stands in a conversation of its own.
    """
    kind = rng.random()
    if kind < 0.22:
        tools, question, answer = no_call(rng, split)
        last = {"role": "assistant", "content": answer, "reasoning": "I need no tool."}
        return Conversation([user(question), last], tools, thinking)
    tools, question, uses = (one_call if kind < 0.75 else several_calls)(rng, split)
    messages = called(question, uses)
    if not thinking and rng.random() < CALLS_SHARE:
        messages = messages[:2]
    return Conversation(messages, tools, thinking)


def called(question, uses):
    calls = {
        "role": "assistant",
        "reasoning": thought([use.name for use in uses]),
        "tool_calls": [use.call for use in uses],
    }
    results = [{"role": "tool", "name": use.name, "content": use.result} for use in uses]
    answer = {
        "role": "assistant",
        "content": " ".join(use.answer for use in uses),
        "reasoning": "I have the result.",
    }
    return [user(question), calls, *results, answer]


def user(text):
    return {"role": "user", "content": text}
