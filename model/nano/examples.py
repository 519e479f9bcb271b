#!/usr/bin/env python3
"""Writes a picture, a sound and a clip that training never saw, to try facet-nano with.

  examples.py --output model/nano/examples --data FOLDER

FOLDER has the spoken words, or gets them (espeak-ng). Prints what each file holds.
"""

import argparse
import pathlib
import random

import clips
import media
import pictures
import sounds
from corpus import UNSEEN

SEED = 5
ITEM_COUNT, WORD_COUNT, FRAME_COUNT = 3, 3, 4


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, help="folder for the three files")
    parser.add_argument("--data", default=".", help="folder of the spoken words; made if missing")
    arguments = parser.parse_args()
    folder = pathlib.Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)

    items = different_items(rng)
    (folder / "picture.png").write_bytes(media.png(pictures.draw(items, rng)))
    print("picture.png:", pictures.describe(items, rng)[1])

    sounds.prepare(arguments.data)
    sound, _, words = sounds.ask_words(sounds.Bank(arguments.data), rng, UNSEEN, WORD_COUNT)
    (folder / "sound.wav").write_bytes(media.wav(sound))
    print("sound.wav:", words)

    (item,) = pictures.scene(rng, UNSEEN, item_count=1)
    told = clips.Story(item, FRAME_COUNT, second=None, direction="left")
    (folder / "clip.mkv").write_bytes(media.mkv(clips.film(told, rng)))
    print(f"clip.mkv: a {item.colour} {item.shape} that moves left")


def different_items(rng):
    """Held-out items of which a shape or a colour alone names each."""
    while True:
        items = pictures.scene(rng, UNSEEN, ITEM_COUNT)
        if len({i.shape for i in items}) == len({i.colour for i in items}) == ITEM_COUNT:
            return items


if __name__ == "__main__":
    main()
