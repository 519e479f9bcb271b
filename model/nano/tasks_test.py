"""Tests of the tasks: what is held out, and that each answer follows from its question.

Needs numpy; spoken words need espeak-ng.
"""

import collections
import random
import shutil
import tempfile
import unittest

import clips
import dialogues
import mixture
import pictures
import sounds
import tasks
import tools
from corpus import TRAIN, UNSEEN

SEED = 21


def rngs(count):
    return [random.Random(f"{SEED} {index}") for index in range(count)]


class PicturesTest(unittest.TestCase):
    # Given training scenes, expect none of the held-out items; given those of the evaluation,
    # expect one at least.
    def test_held_out_items(self):
        for rng in rngs(300):
            self.assertFalse(any(item.held_out for item in pictures.scene(rng, TRAIN)))
            self.assertTrue(any(item.held_out for item in pictures.scene(rng, UNSEEN)))

    # Given a drawn item, expect its colour at its centre and the background in the corners.
    def test_items_are_drawn_where_they_are(self):
        for rng in rngs(40):
            item = pictures.Item("square", "blue", rng.randrange(3), rng.randrange(3))
            pixels = pictures.draw([item], rng).pixels.astype(int)
            height, width = pixels.shape[:2]
            down, across = height * (item.row + 0.5) / 3, width * (item.column + 0.5) / 3
            centre = pixels[int(down), int(across)]
            self.assertGreater(centre[2], centre[0] + 60)
            self.assertLess(abs(pixels[0, 0, 2] - pixels[0, 0, 0]), 80)

    # Given the first lessons in shapes, expect one item, and one question that its shape answers.
    def test_shape_conversations(self):
        shapes = collections.Counter()
        for rng in rngs(40):
            question, answer = pictures.shape_conversation(rng)
            self.assertEqual(question["content"][0]["type"], "image")
            shapes[answer["content"]] += 1
        self.assertEqual(set(shapes), {f"A {shape}." for shape in pictures.SHAPES})

    # Given questions with a number, a yes or a side as answer, expect what the scene says.
    def test_answers_follow_from_the_scene(self):
        red, blue = pictures.Item("circle", "red", 0, 0), pictures.Item("square", "blue", 2, 2)
        for rng in rngs(200):
            question, answer = pictures.ask_relation([red, blue], rng)
            words = question.rstrip("?").split()
            first_is_red = question.index("circle") < question.index("square")
            if " or " in question:
                upright = "above" in words
                sides = ("Above.", "Below.") if upright else ("Left.", "Right.")
                self.assertEqual(answer, sides[0] if first_is_red else sides[1], question)
            else:
                before = "left" in words or "above" in words
                self.assertEqual(answer, "Yes." if before == first_is_red else "No.", question)
            question, answer = pictures.ask_count([red, blue, red], rng)
            counts = {"circles": 2, "squares": 1, "red shapes": 2, "blue shapes": 1}
            name = next((name for name in counts if name in question), None)
            if name:
                self.assertEqual(answer, f"{counts[name]}.", question)

    # Given two equal items and only draws of what cannot be asked of them, expect a question.
    def test_equal_items_have_a_question(self):
        items = [pictures.Item("circle", "purple", 0, 1), pictures.Item("circle", "purple", 1, 1)]
        rng = random.Random(0)
        rng.choices = lambda kinds, weights, k: ["picture: colour"] * k
        rng.random = lambda: 0.5
        self.assertEqual(len(pictures.questions(items, rng, 6)), 1)

    # Given a clip, expect the item from its second on, and nothing before it.
    def test_clip_shows_the_item_from_its_second_on(self):
        for rng in rngs(20):
            told = clips.story(rng, TRAIN)
            if told.direction is not None:
                continue
            frames = [frame.pixels.astype(int) for frame in clips.film(told, rng).frames]
            spread = [int((frame.max(axis=2) - frame.min(axis=2)).max()) for frame in frames]
            for second, colourful in enumerate(spread):
                self.assertEqual(colourful > 80, second >= told.second, (told, spread))


class SoundsTest(unittest.TestCase):
    # Given the voices, expect three of them and some speeds and pitches of the others held out.
    def test_voices_are_split(self):
        splits = collections.Counter(
            sounds.voice_split(voice, speed, pitch)
            for voice in sounds.VOICES + sounds.NEW_VOICES
            for speed in sounds.SPEEDS
            for pitch in sounds.PITCHES
        )
        self.assertEqual(splits[sounds.REWORDED], 36)
        self.assertGreater(splits[UNSEEN], 10)
        self.assertGreater(splits[TRAIN], 150)

    # Given two tones, expect the question's answer to follow from their frequencies, and held-out
    # frequencies in the evaluation alone.
    def test_tones(self):
        for rng in rngs(200):
            self.assertFalse(sounds.tone_is_held_out(sounds.tone_frequency(rng, TRAIN)))
            self.assertTrue(sounds.tone_is_held_out(sounds.tone_frequency(rng, UNSEEN)))
        for rng in rngs(20):
            sound, _, answer = sounds.ask_tones(rng, TRAIN, "count")
            self.assertIn(answer, ("1.", "2.", "3.", "4.", "5."))
            self.assertGreater(len(sound.samples), int(answer[0]) * 0.28 * 16_000)

    def test_a_word_is_spoken(self):
        """Given a word, expect between a fifth of a second and one second of sound."""
        samples = sounds.speak("en-us", 150, 50, "seven")
        self.assertGreater(len(samples), 3200)
        self.assertLess(len(samples), 16_000)
        self.assertGreater(abs(samples).max(), 3000)

    # Given no espeak-ng, expect a message that names it.
    def test_missing_speaker_is_named(self):
        find, sounds.shutil.which = sounds.shutil.which, lambda name: None
        try:
            with tempfile.TemporaryDirectory() as folder:
                with self.assertRaisesRegex(FileNotFoundError, "espeak-ng"):
                    sounds.prepare(folder)
        finally:
            sounds.shutil.which = find


class ToolsTest(unittest.TestCase):
    # Given a question for a tool, expect the tool among those declared, and its values in the
    # question.
    def test_called_tools_are_declared(self):
        for rng in rngs(300):
            declared, question, uses = tools.one_call(rng, TRAIN)
            self.assertIn(uses[0].name, [tool["name"] for tool in declared])
            if uses[0].name == "weather":
                self.assertIn(uses[0].arguments["city"], question)
            names = [tool["name"] for tool in declared]
            self.assertEqual(len(set(names)), len(names))

    # Given arguments of a call, expect exactly those that its declaration requires.
    def test_arguments_are_the_declared_ones(self):
        for name, declared in tools.TOOLS.items():
            for rng in rngs(20):
                arguments = tools.draw(name, rng, TRAIN).arguments
                self.assertEqual(sorted(arguments), declared["parameters"]["required"])

    # Given the calculator, expect results that Python agrees with.
    def test_results_are_right(self):
        for rng in rngs(200):
            use = tools.draw("calculator", rng, TRAIN)
            left, sign, right = use.arguments["expression"].split()
            a, b = int(left), int(right)
            result = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign]
            self.assertEqual(float(use.result), float(result))

    # Given a call held out, expect its values in no training conversation.
    def test_held_out_calls_are_not_trained(self):
        def seen(split):
            draws = [tools.draw("weather", rng, split) for rng in rngs(400)]
            return {use.arguments["city"] for use in draws}

        self.assertFalse(seen(TRAIN) & seen(UNSEEN))

    # Given questions for which nothing is declared, expect that no declared tool would fit.
    def test_no_call(self):
        for rng in rngs(200):
            declared, question, _ = tools.no_call(rng, TRAIN)
            names = [tool["name"] for tool in declared]
            if "weather" in question.lower():
                self.assertNotIn("weather", names)


class DialoguesTest(unittest.TestCase):
    # Given memory, expect the recalled value among what was told, or that it was not told.
    def test_recalled_values_were_told(self):
        for rng in rngs(300):
            messages = dialogues.memory(rng)
            answer = messages[-1]["content"]
            told = " ".join(item["content"] for item in messages[:-2] if item["role"] == "user")
            if not answer.startswith("You have not told me"):
                self.assertIn(answer.rstrip(".").split(" is ")[1], told)

    # Given a rule of the system text, expect each answer to keep it.
    def test_answers_keep_the_rule(self):
        for rng in rngs(300):
            messages = dialogues.system_prompt(rng)
            value = messages[0]["content"].rstrip(".").split()[-1]
            for message in messages:
                if message["role"] == "assistant":
                    self.assertIn(value, message["content"])


class TasksTest(unittest.TestCase):
    # Given each task but those that need spoken words, expect cases with an answer or calls.
    def test_cases_have_answers(self):
        for name in tasks.ALL:
            if name in tasks.NEED_BANK:
                continue
            for _, _, cases in tasks.make(name, 4, SEED, None):
                self.assertGreaterEqual(len(cases), 4, name)
                for case in cases:
                    self.assertTrue(case.answer or case.calls, name)
                    self.assertNotEqual(case.conversation.messages[-1]["role"], "assistant")

    # Given kinds of text, expect 200 different questions of each.
    def test_there_are_enough_questions(self):
        for name in tasks.TEXT_KINDS:
            _, _, cases = tasks.make(name, 200, SEED, None)[0]
            questions = {case.conversation.messages[-1]["content"] for case in cases}
            self.assertEqual(len(questions), 200, name)

    # Given a case with history, expect finished turns and an open question last.
    def test_history_ends_with_an_open_question(self):
        for case in tasks.make(tasks.HISTORY, 50, SEED, None)[0][2]:
            roles = [item["role"] for item in case.conversation.messages]
            roles = roles[roles[0] == "system" :]
            self.assertEqual(roles, (["user", "assistant"] * 4)[: len(roles)])
            self.assertIn(len(roles), (3, 5, 7))

    # Given a worked sum with thinking on, expect steps that add up.
    def test_worked_steps_are_right(self):
        for rng in rngs(300):
            message = mixture.thoughtful(rng, TRAIN).messages[-1]
            for step in message["reasoning"].replace(". So", ",").split(", "):
                if "=" in step:
                    left, right = step.split(" = ")
                    total, sign = 0, 1
                    for word in left.split():
                        if word in "+-":
                            sign = 1 if word == "+" else -1
                        else:
                            total += sign * int(word)
                    self.assertEqual(total, int(right.rstrip(".")), message)


if __name__ == "__main__":
    unittest.main()
