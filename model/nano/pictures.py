"""Scenes of coloured shapes, how they are drawn, and questions about them.

A tenth of all triples (shape, colour, place) is held out: no training scene holds one, and every
scene of the evaluation holds at least one. Exact positions, sizes and shades vary freely.
"""

import dataclasses

import numpy

from corpus import TRAIN, held_out
from media import PATCH_PIXELS, Picture, fitted_size

COLOURS = {
    "red": (215, 40, 40),
    "green": (40, 160, 60),
    "blue": (45, 70, 215),
    "yellow": (235, 215, 45),
    "purple": (140, 50, 170),
    "orange": (240, 135, 30),
}
SHAPES = ["circle", "square", "triangle", "cross"]
PLACES = [
    ["top left", "top", "top right"],
    ["left", "middle", "right"],
    ["bottom left", "bottom", "bottom right"],
]
SHADE_RANGE = 18  # how far one channel of a colour may be off
JITTER = 0.015  # of a side: how far an item may be off the middle of its place
RADIUS_RANGE = (0.11, 0.125)  # of the shorter side, so that neighbours stay apart
SIDE_RANGE = (200, 700)  # pixels
ASPECT_RANGE = (0.55, 1.8)
NOISE = numpy.random.default_rng(1).integers(-128, 128, 4_000_000, dtype=numpy.int8)


@dataclasses.dataclass(frozen=True)
class Item:
    shape: str
    colour: str
    row: int
    column: int

    @property
    def place(self):
        return PLACES[self.row][self.column]

    @property
    def held_out(self):
        return held_out("item", self.shape, self.colour, self.place)


def scene(rng, split, item_count=None):
    """Items in different places, drawn until they fall into the split."""
    while True:
        count = item_count or rng.choices([1, 2, 3, 4], [2, 3, 3, 2])[0]
        shapes, colours = SHAPES, list(COLOURS)
        if count > 1 and rng.random() < 0.4:  # few sorts, so that counts differ from one
            shapes, colours = rng.sample(SHAPES, 2), rng.sample(colours, 2)
        cells = rng.sample(range(9), count)
        items = [Item(rng.choice(shapes), rng.choice(colours), *divmod(i, 3)) for i in cells]
        if any(item.held_out for item in items) == (split != TRAIN):
            return items


def draw(items, rng):
    """A picture of the items on a plain or noisy background, of a random size."""
    width = rng.randrange(*SIDE_RANGE)
    height = round(width / rng.uniform(*ASPECT_RANGE))
    if rng.random() < 0.5:  # half of the pictures come in the size that the model takes
        height, width = fitted_size(height, width)
    canvas = Canvas(height, width, rng)
    for item in items:
        canvas.put(item, *place_of(item, rng, *fitted_size(height, width)))
    return canvas.picture()


def place_of(item, rng, height, width):
    """Centre (x, y) in shares of the sides, and radius in shares of the shorter side.

    `height` and `width` are those that the model takes. Outer places lie where four patches meet,
    as near to the middle of their third as that allows, so that each patch holds a like part of an
    item whatever the picture's size: the model has one linear layer to see a patch with.
    """
    x = middle(item.column, width // PATCH_PIXELS) + rng.uniform(-JITTER, JITTER)
    y = middle(item.row, height // PATCH_PIXELS) + rng.uniform(-JITTER, JITTER)
    return x, y, rng.uniform(*RADIUS_RANGE)


def middle(third, patch_count):
    """Of the first, second or last third of a side, as a share of it."""
    outer = round(patch_count / 6) / patch_count
    return [outer, 0.5, 1 - outer][third]


class Canvas:
    """A background on which items are put; all frames of a clip share its noise and shades."""

    def __init__(self, height, width, rng):
        light = rng.random() < 0.7
        grey = rng.randrange(200, 256) if light else rng.randrange(0, 50)
        tint = [min(255, max(0, grey + rng.randrange(-8, 9))) for _ in range(3)]
        self.rng = rng
        self.noise_level = rng.choice([0, 0, rng.uniform(2, 30)])
        self.shades = {
            name: [value + rng.randrange(-SHADE_RANGE, SHADE_RANGE + 1) for value in colour]
            for name, colour in COLOURS.items()
        }
        self.pixels = numpy.empty((height, width, 3), numpy.float32)
        self.pixels[:] = tint

    def put(self, item, x, y, radius):
        height, width = self.pixels.shape[:2]
        radius *= min(height, width)
        top, bottom = max(0, int(y * height - radius - 2)), int(y * height + radius + 3)
        left, right = max(0, int(x * width - radius - 2)), int(x * width + radius + 3)
        area = self.pixels[top:bottom, left:right]
        down = (numpy.arange(area.shape[0], dtype=numpy.float32) + top + 0.5 - y * height)[:, None]
        across = (numpy.arange(area.shape[1], dtype=numpy.float32) + left + 0.5 - x * width)[None]
        cover = numpy.clip(inside(item.shape, across, down, radius) + 0.5, 0, 1)[..., None]
        area += cover * (numpy.array(self.shades[item.colour], numpy.float32) - area)

    def picture(self):
        pixels = self.pixels
        if self.noise_level:
            start = self.rng.randrange(len(NOISE) - pixels.size)
            noise = NOISE[start : start + pixels.size].reshape(pixels.shape)
            pixels = pixels + noise * numpy.float32(self.noise_level / 128)
        return Picture(numpy.clip(pixels, 0, 255).astype(numpy.uint8))


def inside(shape, across, down, radius):
    """How many pixels a point is inside of the outline, negative outside."""
    if shape == "circle":
        return radius - numpy.sqrt(across**2 + down**2)
    if shape == "square":
        return 0.85 * radius - numpy.maximum(abs(across), abs(down))
    if shape == "triangle":
        slope = 0.894 * abs(across) - 0.447 * (down + radius)  # sides twice as high as wide
        return numpy.minimum(-slope, 0.85 * radius - down)
    arm = 0.32 * radius
    upright = numpy.minimum(arm - abs(across), radius - abs(down))
    level = numpy.minimum(radius - abs(across), arm - abs(down))
    return numpy.maximum(upright, level)


def named(items):
    """[(name, item)] for each item that one name singles out, such as "circle" or "red circle"."""
    found = []
    for item in items:
        if sum(other.shape == item.shape for other in items) == 1:
            found.append((item.shape, item))
        full = f"{item.colour} {item.shape}"
        alike = [other for other in items if (other.shape, other.colour) == (item.shape, item.colour)]
        if len(items) > 1 and len(alike) == 1:
            found.append((full, item))
    return found


def capital(text):
    return text[0].upper() + text[1:] + "."


def article(name):
    return ("an " if name[0] == "o" else "a ") + name


# Each asks one question about the items and gives (question, answer), or None where it cannot.


def ask_colour(items, rng):
    choices = [item for item in items if sum(i.shape == item.shape for i in items) == 1]
    if not choices:
        return None
    item = rng.choice(choices)
    templates = [
        "What colour is the {}?",
        "What color is the {}?",
        "Which colour does the {} have?",
        "What is the colour of the {}?",
        "Tell me the colour of the {}.",
        "The {} is of which colour?",
    ]
    return rng.choice(templates).format(item.shape), capital(item.colour)


def ask_shape(items, rng):
    choices = [item for item in items if sum(i.colour == item.colour for i in items) == 1]
    if not choices:
        return None
    item = rng.choice(choices)
    templates = [
        "What shape is {}?",
        "Which shape is {}?",
        "What is {} in this picture?",
        "What shape is the {} one?",
        "Name the {} shape.",
        "What {} thing do you see?",
    ]
    return rng.choice(templates).format(item.colour), f"A {item.shape}."


def ask_count(items, rng):
    what = rng.choice(["shapes", "shape", "colour"])
    if what == "shapes":
        name, count = "shapes", len(items)
    elif what == "shape":
        shape = rng.choice([rng.choice(items).shape, rng.choice(SHAPES)])
        name = "crosses" if shape == "cross" else shape + "s"
        count = sum(item.shape == shape for item in items)
    else:
        colour = rng.choice([rng.choice(items).colour, rng.choice(list(COLOURS))])
        name, count = colour + " shapes", sum(item.colour == colour for item in items)
    templates = [
        "How many {} are there?",
        "How many {} do you see?",
        "Count the {}.",
        "How many {} are in the picture?",
        "What is the number of {}?",
    ]
    return rng.choice(templates).format(name), f"{count}."


def ask_place(items, rng):
    choices = named(items)
    if not choices:
        return None
    name, item = rng.choice(choices)
    templates = [
        "Where is the {}?",
        "Where do you see the {}?",
        "In which part of the picture is the {}?",
        "Where in the picture is the {}?",
    ]
    return rng.choice(templates).format(name), capital(item.place)


def ask_relation(items, rng):
    choices = named(items)
    pairs = [(a, b) for a in choices for b in choices if a[1] != b[1]]
    if not pairs:
        return None
    (name, item), (other_name, other) = rng.choice(pairs)
    level = [] if item.column == other.column else [("left", "right", item.column < other.column)]
    upright = [] if item.row == other.row else [("above", "below", item.row < other.row)]
    first, second, is_first = rng.choice(level + upright)
    right = first if is_first else second
    if rng.random() < 0.5:
        choice = f"{first} or {second}" if first == "above" else "left or right of"
        return f"Is the {name} {choice} the {other_name}?", capital(right)
    asked = rng.choice([first, second])
    words = asked if asked in ("above", "below") else asked + " of"
    return f"Is the {name} {words} the {other_name}?", "Yes." if asked == right else "No."


def ask_presence(items, rng):
    """Is there a ...? One of the sorts in the picture, or a near relative of one."""
    item = rng.choice(items)
    shape, colour = item.shape, item.colour
    if rng.random() < 0.5:
        near = [(rng.choice(SHAPES), colour), (shape, rng.choice(list(COLOURS)))]
        shape, colour = rng.choice(near)
    there = any((i.shape, i.colour) == (shape, colour) for i in items)
    templates = ["Is there {}?", "Do you see {}?", "Does the picture show {}?"]
    return rng.choice(templates).format(article(f"{colour} {shape}")), "Yes." if there else "No."


def describe(items, rng):
    templates = [
        "Describe the picture.",
        "What do you see?",
        "What is in the picture?",
        "Describe this image.",
        "What does the picture show?",
    ]
    ordered = sorted(items, key=lambda item: (item.row, item.column))
    parts = [f"{article(f'{item.colour} {item.shape}')} ({item.place})" for item in ordered]
    return rng.choice(templates), capital(", ".join(parts))


ASK = {
    "picture: colour": ask_colour,
    "picture: shape": ask_shape,
    "picture: count": ask_count,
    "picture: place": ask_place,
    "picture: relation": ask_relation,
    "picture: presence": ask_presence,
    "picture: description": describe,
}
KIND_WEIGHTS = [3, 3, 4, 3, 4, 3, 0]


def questions(items, rng, count):
    """Different questions about one picture, for training.

    Some begin with the description, which tells most about the picture in the fewest tokens. What
    is asked after it can be read from it; so the others are answered from the picture alone.
    """
    found = dict([describe(items, rng)]) if rng.random() < 0.25 else {}
    for kind in rng.choices(list(ASK), KIND_WEIGHTS, k=3 * count):
        asked = ASK[kind](items, rng)
        if asked and len(found) < count:
            found.setdefault(asked[0], asked[1])
    if not found:  # Of two equal items only counts and presence can be asked.
        found = dict([ask_count(items, rng)])
    return list(found.items())


def ask_two(first, second, rng):
    """A question that takes both pictures."""
    kind = rng.choice(["more", "more", "which", "both", "colour"])
    if kind == "more" and len(first) != len(second):
        more = rng.random() < 0.7
        winner = (len(first) > len(second)) == more
        word = "more" if more else "fewer"
        question = rng.choice(
            [
                f"Which picture has {word} shapes?",
                f"Which picture shows {word} shapes, the first or the second?",
                f"In which picture are {word} shapes?",
            ]
        )
        return question, "The first." if winner else "The second."
    if kind == "colour" and len(first) == len(second) == 1:
        same = first[0].colour == second[0].colour
        return "Are both shapes of the same colour?", "Yes." if same else "No."
    if kind == "both":
        shape = rng.choice(SHAPES)
        both = all(any(item.shape == shape for item in items) for items in (first, second))
        return f"Is there a {shape} in both pictures?", "Yes." if both else "No."
    shapes = [{item.shape for item in items} for items in (first, second)]
    only = sorted(shapes[0] ^ shapes[1])
    if not only:
        return None
    shape = rng.choice(only)
    question = rng.choice(
        [f"Which picture shows a {shape}?", f"In which picture is there a {shape}?"]
    )
    return question, "The first." if shape in shapes[0] else "The second."


def part(picture):
    return {"type": "image", "image": picture}


def text(words):
    return {"type": "text", "text": words}


def conversation(rng, split=TRAIN, question_count=6):
    """Messages about one picture."""
    items = scene(rng, split)
    asked = questions(items, rng, question_count)
    return with_media([part(draw(items, rng))], asked, rng)


def shape_conversation(rng, split=TRAIN):
    """What a picture's only item is: the shortest way to learn to see shapes."""
    items = scene(rng, split, item_count=1)
    return with_media([part(draw(items, rng))], [ask_shape(items, rng)], rng)


def two_conversation(rng, split=TRAIN, question_count=3):
    """Messages about two pictures."""
    found = {}
    while not found:
        counts = [rng.choice([1, 1, 2, 3, 4]) for _ in range(2)]
        scenes = [scene(rng, split, count) for count in counts]
        if counts == [1, 1] and rng.random() < 0.5:
            other = dataclasses.replace(scenes[1][0], colour=scenes[0][0].colour)
            if other.held_out == (split != TRAIN):
                scenes[1] = [other]
        for _ in range(question_count):
            asked = ask_two(*scenes, rng)
            if asked:
                found.setdefault(*asked)
    parts = [part(draw(items, rng)) for items in scenes]
    return with_media(parts, list(found.items()), rng)


def with_media(parts, asked, rng, media_last=0.0):
    """The media with the first question, then the others as further turns."""
    messages = []
    for index, (question, answer) in enumerate(asked):
        content = question
        if index == 0:
            words = [text(question)]
            content = words + parts if rng.random() < media_last else parts + words
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": answer})
    return messages


def evaluation_messages(kind, rng, split):
    """The messages of one question of the kind, with its answer."""
    if kind == "pictures: two":
        return two_conversation(rng, split, question_count=1)
    while True:
        items = scene(rng, split)
        asked = ASK[kind](items, rng)
        if asked:
            return with_media([part(draw(items, rng))], [asked], rng)
