"""Tests of the vocabulary. Plain Python."""

import unittest

import vocabulary


def encode(text):
    """Pieces of a text without control tokens, by the merge rule alone.

    Lowest rank first, leftmost on ties.
    """
    model = vocabulary.tokenizer_json()["model"]
    rank = {tuple(merge): index for index, merge in enumerate(model["merges"])}
    symbols = list(text.replace(" ", "▁"))
    while True:
        pairs = [
            (rank[pair], at) for at, pair in enumerate(zip(symbols, symbols[1:])) if pair in rank
        ]
        if not pairs:
            return symbols
        _, at = min(pairs)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]


class VocabularyTest(unittest.TestCase):
    # Given the pieces, expect 1,536 different ones with Gemma's ids for control tokens, newlines,
    # spaces and bytes.
    def test_ids_are_those_of_gemma(self):
        pieces = vocabulary.vocabulary()
        self.assertEqual(len(pieces), 1536)
        self.assertEqual(len(set(pieces)), 1536)
        expected = {
            0: "<pad>",
            1: "<eos>",
            2: "<bos>",
            3: "<unk>",
            46: "<|tool>",
            50: "<|tool_response>",
        }
        expected |= {
            98: "<|think|>",
            100: "<|channel>",
            101: "<channel|>",
            105: "<|turn>",
            106: "<turn|>",
        }
        expected |= {
            107: "\n",
            108: "\n\n",
            137: "\n" * 31,
            138: "▁▁",
            238: "<0x00>",
            493: "<0xFF>",
        }
        for identifier, piece in expected.items():
            self.assertEqual(pieces[identifier], piece)
        self.assertEqual(pieces[-7:], vocabulary.MEDIA_TOKENS)

    # Given any merge, expect its parts and its result in the vocabulary: else a tokenizer refuses
    # the file.
    def test_merges_stay_in_the_vocabulary(self):
        pieces = set(vocabulary.vocabulary())
        for left, right in vocabulary.tokenizer_json()["model"]["merges"]:
            self.assertLessEqual({left, right, left + right}, pieces)

    # Given digits and the inside of words, expect single characters; given common words, one piece
    # each.
    def test_digits_and_word_insides_stay_single(self):
        sum_pieces = ["i", "s", "▁", "3", "7", "▁plus", "▁", "4", "8"]
        self.assertEqual(encode("is 37 plus 48"), sum_pieces)
        self.assertEqual(encode(" banana"), ["▁ba", "n", "a", "n", "a"])
        self.assertEqual(encode("user"), ["user"])
        self.assertEqual(encode("thought"), ["thought"])

    # Given a tool declaration, expect one piece for each of its fixed parts; and given words that
    # hold a start of such a part, expect them as they would be without.
    def test_declarations_are_short(self):
        self.assertEqual(encode("declaration:x{description:"), ["declaration:", "x", "{description:"])
        self.assertEqual(encode(" dxde"), ["▁d", "x", "d", "e"])

    # Given runs of newlines and spaces, expect one piece for each run of up to 31.
    def test_runs_are_one_piece(self):
        for length in range(1, 32):
            self.assertEqual(encode("\n" * length), ["\n" * length])
            self.assertEqual(encode(" " * length), ["▁" * length])

    # Given the added tokens, expect exactly the control, media and unused pieces, at their ids.
    def test_added_tokens_carry_their_ids(self):
        pieces = vocabulary.vocabulary()
        added = vocabulary.tokenizer_json()["added_tokens"]
        self.assertEqual(
            [pieces[token["id"]] for token in added], [token["content"] for token in added]
        )
        self.assertEqual(len(added), sum(map(vocabulary.is_control, pieces)))


if __name__ == "__main__":
    unittest.main()
