"""Spoken words and tones, and questions about them.

Words are spoken by espeak-ng, once for each voice, speed and pitch, into a folder (`prepare`), and
strung together with gaps, noise and a random loudness. Three voices are held out of training
altogether, and a tenth of the speeds and pitches of each other voice. Tones are computed; a tenth
of their frequencies (in steps of 20 Hz) is held out.
"""

import concurrent.futures
import math
import os
import pathlib
import shutil
import subprocess

import numpy

from corpus import REWORDED, TRAIN, UNSEEN, held_out
from media import SAMPLES_PER_SECOND, Sound
from pictures import capital, with_media

DIGITS = "zero one two three four five six seven eight nine".split()
COMMANDS = """yes no up down left right stop go start play pause next back open close on off light
music help""".split()
WORDS = DIGITS + COMMANDS

VOICES = """en-us en-us+m2 en-us+m3 en-us+m4 en-us+m5 en-us+m7 en-us+f1 en-us+f2 en-us+f4 en-gb
en-gb+m3 en-gb+f2 en-gb+f3 en-gb-scotland en-gb-x-rp en-gb-x-gbcwmd""".split()
NEW_VOICES = "en-us+f3 en-gb+m6 en-gb-x-rp+f5".split()
SPEEDS = (125, 150, 175, 200)  # words a minute
PITCHES = (35, 50, 65)  # espeak-ng's scale from 0 to 99

BANK_FILE = "words.npz"
GAP_RANGE_S = (0.06, 0.25)
LEAD_RANGE_S = (0.0, 0.12)
WORDS_MAX = 6  # in one training sound: many words for few tokens
WORDS_ASKED_MAX = 3  # in the evaluation
QUIET = 250  # of 32,768: what is softer at the ends of a word is cut off

TONE_RANGE_HZ = (250, 1600)
TONE_RANGE_S = (0.18, 0.35)
TONE_RATIO_MIN = 1.25


def voice_split(voice, speed, pitch):
    """TRAIN, UNSEEN (a trained voice at another speed and pitch) or REWORDED (a new voice)."""
    if voice in NEW_VOICES:
        return REWORDED
    return UNSEEN if held_out("voice", voice, speed, pitch) else TRAIN


def prepare(folder, progress=lambda done, total: None):
    """Speaks all words into the folder's bank, if it is not there yet."""
    path = pathlib.Path(folder) / BANK_FILE
    if path.exists():
        return
    if not shutil.which("espeak-ng"):
        raise FileNotFoundError("espeak-ng is not installed; it is Debian's package of that name")
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = [
        (voice, speed, pitch, word)
        for voice in VOICES + NEW_VOICES
        for speed in SPEEDS
        for pitch in PITCHES
        for word in WORDS
    ]
    spoken = {}
    with concurrent.futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        for key, samples in zip(keys, pool.map(lambda key: speak(*key), keys), strict=True):
            spoken["|".join(map(str, key))] = samples
            progress(len(spoken), len(keys))
    aside = path.with_suffix(".tmp.npz")
    numpy.savez(aside, **spoken)
    os.replace(aside, path)


def speak(voice, speed, pitch, word):
    """int16 at 16 kHz, without the silence before and after."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", word]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    samples = numpy.frombuffer(output[44:], numpy.int16).astype(numpy.float32)  # a WAV header is 44
    rate = int.from_bytes(output[24:28], "little")
    loud = numpy.flatnonzero(abs(samples) > QUIET)
    return resample(samples[loud[0] : loud[-1] + 1], rate).astype(numpy.int16)


def resample(samples, rate):
    """To 16 kHz, by cutting the spectrum at 8 kHz."""
    count = round(len(samples) * SAMPLES_PER_SECOND / rate)
    spectrum = numpy.fft.rfft(samples)[: count // 2 + 1]
    return numpy.clip(numpy.fft.irfft(spectrum, count) * count / len(samples), -32768, 32767)


class Bank:
    """The spoken words of a prepared folder."""

    def __init__(self, folder):
        self.words = {}  # split -> list of {word: samples}, one for each voice, speed and pitch
        found = {}
        with numpy.load(pathlib.Path(folder) / BANK_FILE) as file:
            for key in file.files:
                voice, speed, pitch, word = key.split("|")
                found.setdefault((voice, int(speed), int(pitch)), {})[word] = file[key]
        for key, spoken in found.items():
            self.words.setdefault(voice_split(*key), []).append(spoken)

    def say(self, words, rng, split):
        """One speaker says all the words."""
        speaker = rng.choice(self.words[split])
        pieces = [silence(rng.uniform(*LEAD_RANGE_S))]
        for word in words:
            pieces += [speaker[word].astype(numpy.float32), silence(rng.uniform(*GAP_RANGE_S))]
        return finished(numpy.concatenate(pieces), rng)


def silence(seconds):
    return numpy.zeros(int(seconds * SAMPLES_PER_SECOND), numpy.float32)


def finished(samples, rng):
    """With noise, and of a random loudness."""
    random = numpy.random.default_rng(rng.getrandbits(64))
    level = math.sqrt(float(numpy.mean(samples**2)))
    noise = level * 10 ** (-rng.uniform(15, 45) / 20)
    samples = samples + random.standard_normal(len(samples), numpy.float32) * numpy.float32(noise)
    gain = rng.uniform(0.15, 0.9) * 32767 / float(abs(samples).max())
    return Sound((samples * gain).astype(numpy.int16))


# Each gives (samples or Sound, [(question, answer)]).


def ask_words(bank, rng, split, count=None):
    """Some words; the questions ask for them as they were said."""
    most = WORDS_MAX if split == TRAIN else WORDS_ASKED_MAX
    words = [rng.choice(WORDS) for _ in range(count or rng.randint(1, most))]
    if rng.random() < 0.4:
        words = [rng.choice(DIGITS) for _ in words]
    sound = bank.say(words, rng, split)
    templates = [
        "Transcribe.",
        "Transcribe the audio.",
        "Transcribe this.",
        "What is said?",
        "What do you hear?",
        "What did I say?",
        "Write down what you hear.",
        "What does the voice say?",
        "",
    ]
    return sound, rng.choice(templates), " ".join(words)


def ask_about_words(bank, rng, split):
    """Something about one to three words that is not their transcript."""
    words = [rng.choice(WORDS) for _ in range(rng.choice([1, 2, 3]))]
    kind = rng.choice(["contains", "contains", "count", "last", "first", "digit"])
    if kind == "digit":
        words = [rng.choice(WORDS[: 2 * len(DIGITS)])]
    sound = bank.say(words, rng, split)
    if kind == "contains":
        word = rng.choice(words) if rng.random() < 0.5 else rng.choice(WORDS)
        question = rng.choice(
            [f"Is the word {word} said?", f"Do you hear the word {word}?", f"Did I say {word}?"]
        )
        return sound, question, "Yes." if word in words else "No."
    if kind == "count":
        question = rng.choice(["How many words are said?", "How many words do you hear?"])
        return sound, question, f"{len(words)}."
    if kind == "digit":
        question = rng.choice(["Is this a digit or a command?", "Is it a digit or a command?"])
        return sound, question, "A digit." if words[0] in DIGITS else "A command."
    index = 0 if kind == "first" else -1
    question = rng.choice([f"What is the {kind} word?", f"Which word is said {kind}?"])
    return sound, question, capital(words[index])


def tone_is_held_out(frequency):
    return held_out("tone", int(frequency) // 20)


def tone_frequency(rng, split):
    while True:
        frequency = math.exp(rng.uniform(*map(math.log, TONE_RANGE_HZ)))
        if tone_is_held_out(frequency) == (split != TRAIN):
            return frequency


def tone(frequency, rng):
    count = int(rng.uniform(*TONE_RANGE_S) * SAMPLES_PER_SECOND)
    angle = 2 * math.pi * frequency / SAMPLES_PER_SECOND * numpy.arange(count, dtype=numpy.float32)
    wave_form = numpy.sin(angle + rng.uniform(0, 6.28))
    ramp = numpy.minimum(1, numpy.minimum(numpy.arange(count), numpy.arange(count)[::-1]) / 160)
    return (wave_form * ramp).astype(numpy.float32)


def ask_tones(rng, split, kind=None):
    kind = kind or rng.choice(["pitch", "count"])
    if kind == "count":
        count = rng.randrange(1, 6)
        frequencies = [tone_frequency(rng, split)] * count
        question = rng.choice(
            ["How many tones do you hear?", "How many tones are there?", "Count the tones."]
        )
        return tones(frequencies, rng), question, f"{count}."
    while True:
        first, second = tone_frequency(rng, split), tone_frequency(rng, split)
        if max(first, second) >= TONE_RATIO_MIN * min(first, second):
            break
    question = rng.choice(
        [
            "Is the second tone higher or lower?",
            "Is the second tone higher or lower than the first?",
            "Does the tone go higher or lower?",
        ]
    )
    return tones([first, second], rng), question, "Higher." if second > first else "Lower."


def tones(frequencies, rng):
    pieces = [silence(rng.uniform(*LEAD_RANGE_S))]
    for frequency in frequencies:
        pieces += [tone(frequency, rng), silence(rng.uniform(0.1, 0.25))]
    return finished(numpy.concatenate(pieces), rng)


def messages(sound, question, answer, rng):
    """The sound mostly stands behind the question, as Gemma's makers advise, or alone."""
    part = {"type": "audio", "audio": sound}
    if not question:
        return [{"role": "user", "content": [part]}, {"role": "assistant", "content": answer}]
    return with_media([part], [(question, answer)], rng, media_last=0.7)


def conversation(bank, rng, split=TRAIN):
    kind = rng.random()
    if kind < 0.7:
        return messages(*ask_words(bank, rng, split), rng)
    if kind < 0.83:
        return messages(*ask_about_words(bank, rng, split), rng)
    return messages(*ask_tones(rng, split), rng)


