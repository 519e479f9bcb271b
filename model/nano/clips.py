"""Clips of one frame a second: something appears, or something moves; and questions about it."""

import dataclasses

from corpus import TRAIN
from media import Clip, fitted_size
from pictures import ASPECT_RANGE, RADIUS_RANGE, Canvas, capital, scene, with_media

FRAME_COUNT_RANGE = (3, 5)
DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}
TRAVEL = 0.62  # share of the side that a moving item crosses in the whole clip


@dataclasses.dataclass(frozen=True)
class Story:
    """What happens. `second` is when the item appears, or None; `direction` is where it moves."""

    item: object
    frame_count: int
    second: int | None
    direction: str | None


def story(rng, split):
    (item,) = scene(rng, split, 1)
    count = rng.randint(*FRAME_COUNT_RANGE)
    if rng.random() < 0.5:
        return Story(item, count, rng.randrange(count), None)
    return Story(item, count, None, rng.choice(list(DIRECTIONS)))


def film(told, rng):
    width = rng.randrange(200, 500)
    size = fitted_size(round(width / rng.uniform(*ASPECT_RANGE)), width)
    canvas = Canvas(*size, rng)
    background = canvas.pixels
    radius = rng.uniform(*RADIUS_RANGE)
    across, down = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)
    frames = []
    for second in range(told.frame_count):
        canvas.pixels = background.copy()
        if told.second is None or second >= told.second:
            canvas.put(told.item, *position(told, across, down, second), radius)
        frames.append(canvas.picture())
    return Clip(frames)


def position(told, across, down, second):
    if told.direction is None:
        return across, down
    step_x, step_y = DIRECTIONS[told.direction]
    share = TRAVEL * (second / (told.frame_count - 1) - 0.5)
    return (0.5 + step_x * share if step_x else across, 0.5 + step_y * share if step_y else down)


def ask(told, rng):
    """The question about what happens, with its answer."""
    name = told.item.shape
    if told.direction is None:
        templates = [
            "In which second does the {} appear?",
            "When does the {} appear?",
            "At which second do you first see the {}?",
            "In which second can you see the {} first?",
        ]
        return rng.choice(templates).format(name), f"In second {told.second}."
    templates = [
        "Which way does the {} move?",
        "Which way does the {} go?",
        "In which direction does the {} move?",
        "Where does the {} go?",
    ]
    return rng.choice(templates).format(name), capital(told.direction)


def ask_about_item(told, rng):
    return rng.choice(
        [
            (f"What colour is the {told.item.shape}?", capital(told.item.colour)),
            ("Which shape do you see?", f"A {told.item.shape}."),
        ]
    )


def conversation(rng, split=TRAIN, question_count=2):
    told = story(rng, split)
    asked = [ask(told, rng)]
    if question_count > 1:
        asked.append(ask_about_item(told, rng))
        rng.shuffle(asked)
    return with_media([{"type": "video", "video": film(told, rng)}], asked, rng)
