"""Tests of the corpus. Plain Python; each failure names the question."""

import calendar
import datetime
import random
import re
import unittest

import corpus
import vocabulary
import words

SEED = 20
DRAWS = 3000


def draws(kind, split, count=DRAWS):
    rng = random.Random(f"{SEED} {kind} {split}")
    return [corpus.exchange(rng, kind, split) for _ in range(count)]


def numbers(text):
    return [int(digits) for digits in re.findall(r"\d+", text)]


class CorpusTest(unittest.TestCase):
    # Given the same seed, expect the same conversations; given another, others.
    def test_same_seed_gives_same_conversations(self):
        first = [corpus.conversation(random.Random(seed)) for seed in range(50)]
        again = [corpus.conversation(random.Random(seed)) for seed in range(50)]
        other = [corpus.conversation(random.Random(seed + 1000)) for seed in range(50)]
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    # Given any kind, expect no question of either evaluation split among those of training.
    def test_no_evaluation_question_is_trained(self):
        for kind in corpus.KINDS:
            trained = {item.question for item in draws(kind, corpus.TRAIN)}
            for split in (corpus.UNSEEN, corpus.REWORDED):
                asked = {item.question for item in draws(kind, split, 500)}
                self.assertFalse(trained & asked, f"{kind}, {split}")

    # Given kinds held out by value, expect that held-out values occur in no training question,
    # however worded.
    def test_held_out_values_are_in_no_training_wording(self):
        for kind in ("sums", "differences"):
            trained = {
                tuple(sorted(numbers(item.answer)[:2])) for item in draws(kind, corpus.TRAIN)
            }
            for split in (corpus.UNSEEN, corpus.REWORDED):
                asked = {
                    tuple(sorted(numbers(item.answer)[:2])) for item in draws(kind, split, 500)
                }
                self.assertFalse(trained & asked, f"{kind}, {split}")
        trained = {item.answer.split(":")[0].lower() for item in draws("spelling", corpus.TRAIN)}
        asked = {item.answer.split(":")[0].lower() for item in draws("spelling", corpus.UNSEEN)}
        self.assertFalse(trained & asked)

    # Given a stretch of numbers held out for counting, expect that it is not trained in the other
    # direction either.
    def test_held_out_stretches_are_in_no_direction_trained(self):
        def stretches(split):
            return {
                (min(ends), max(ends))
                for ends in (numbers(item.answer) for item in draws("counting", split))
            }

        self.assertFalse(stretches(corpus.TRAIN) & stretches(corpus.UNSEEN))

    # Given rewordings, expect none among the templates of training.
    def test_rewordings_are_not_trained(self):
        for kind, forms in corpus.KINDS.items():
            trained = {template for form in forms for template in form.templates}
            for form in forms:
                self.assertTrue(form.reworded, kind)
                self.assertFalse(trained & set(form.reworded), kind)

    # Given sums and differences, expect the two numbers of the question and their right result.
    def test_sums_and_differences_are_right(self):
        for split in (corpus.TRAIN, corpus.UNSEEN, corpus.REWORDED):
            for item in draws("sums", split):
                a, b, total = numbers(item.answer)
                self.assertEqual(total, a + b, item)
                self.assertCountEqual(numbers(item.question), [a, b], item)
            for item in draws("differences", split):
                a, b, rest = numbers(item.answer)
                self.assertEqual(a, b + rest, item)
                self.assertCountEqual(numbers(item.question), [a, b], item)

    # Given a spelling, expect the letters of a word of the question, and their number where it is
    # asked for.
    def test_spellings_are_right(self):
        for item in draws("spelling", corpus.TRAIN) + draws("spelling", corpus.REWORDED):
            word = item.answer.split(":")[0].replace("-", "")
            self.assertIn(word, re.findall(r"\w+", item.question), item)
            self.assertEqual(item.answer.split(":")[0], "-".join(word), item)
            if ":" in item.answer:
                self.assertEqual(numbers(item.answer), [len(word)], item)

    # Given days and months, expect what Python's own calendar says.
    def test_days_and_months_agree_with_the_calendar(self):
        self.assertEqual(words.DAYS, list(calendar.day_name))
        self.assertEqual([name for name, _ in words.MONTHS], list(calendar.month_name)[1:])
        self.assertEqual(
            [days for _, days in words.MONTHS],
            [calendar.monthrange(2023, m)[1] for m in range(1, 13)],
        )
        day_of = {name: index for index, name in enumerate(calendar.day_name)}
        for item in draws("days", corpus.TRAIN):
            match = re.fullmatch(r"(\d) days after (\w+) is (\w+)\.", item.answer)
            if match:
                count, first, second = match.groups()
                self.assertEqual((day_of[first] + int(count)) % 7, day_of[second], item)
            match = re.fullmatch(r"The day (after|before) (\w+) is (\w+)\.", item.answer)
            if match:
                side, first, second = match.groups()
                self.assertEqual(
                    (day_of[first] + (1 if side == "after" else -1)) % 7, day_of[second], item
                )

    # Given a conversion, expect both sides to be the same quantity, and the question's value on the
    # left.
    def test_conversions_are_right(self):
        size = {"kilometre": 10**6, "metre": 1000, "centimetre": 10, "millimetre": 1}
        size |= {"tonne": 10**6, "kilogram": 1000, "gram": 1, "litre": 1000, "millilitre": 1}
        size |= {"week": 7 * 86400, "day": 86400, "hour": 3600, "minute": 60, "second": 1}
        for split in (corpus.TRAIN, corpus.UNSEEN, corpus.REWORDED):
            for item in draws("conversion", split):
                left, left_unit, right, right_unit = re.fullmatch(
                    r"(\d+) (\w+) = (\d+) (\w+)\.", item.answer
                ).groups()
                self.assertEqual(left_unit.endswith("s"), left != "1", item)
                left_size = int(left) * size[left_unit.removesuffix("s")]
                self.assertEqual(left_size, int(right) * size[right_unit.removesuffix("s")], item)
                self.assertEqual(numbers(item.question), [int(left)], item)

    # Given counting, expect all numbers between the two of the question, in their order.
    def test_counts_are_complete(self):
        for item in draws("counting", corpus.TRAIN):
            counted = numbers(item.answer)
            step = 1 if counted[-1] > counted[0] else -1
            self.assertEqual(counted, list(range(counted[0], counted[-1] + step, step)), item)
            asked = numbers(item.question)
            self.assertIn(asked, ([counted[0], counted[-1]], [counted[-1]]), item)
            self.assertLessEqual(len(counted), corpus.COUNT_NUMBERS_MAX, item)

    # Given any text of the corpus, expect that it is written in pieces of the vocabulary, never in
    # bytes.
    def test_all_characters_are_in_the_vocabulary(self):
        known = set(vocabulary.CHARACTERS.replace("▁", " "))
        for kind in corpus.KINDS:
            for item in draws(kind, corpus.TRAIN, 1000):
                self.assertLessEqual(set(item.question + item.answer), known, item)

    # Given dates, expect what Python's own calendar says of a common year.
    def test_dates_agree_with_the_calendar(self):
        month_of = {name: index for index, name in enumerate(calendar.month_name)}
        for item in draws("dates", corpus.TRAIN):
            match = re.fullmatch(r"(\d) days? after (\d+) (\w+) is (\d+) (\w+)\.", item.answer)
            count, day, month, later_day, later_month = match.groups()
            start = datetime.date(2023, month_of[month], int(day))
            later = start + datetime.timedelta(days=int(count))
            told = (int(later_day), month_of[later_month])
            self.assertEqual((later.day, later.month), told, item)

    # Given three words to sort, expect those of the question in alphabetical order.
    def test_sorted_words_are_in_order(self):
        for item in draws("sorting", corpus.TRAIN):
            found = item.answer.rstrip(".").split(", ")
            self.assertEqual(found, sorted(found), item)
            self.assertEqual(len(found), 3, item)
            self.assertLessEqual(set(found), set(re.findall(r"\w+", item.question)), item)


if __name__ == "__main__":
    unittest.main()
