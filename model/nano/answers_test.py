"""Tests of taking answers apart. Plain Python."""

import unittest

import answers
import prompt


class AnswersTest(unittest.TestCase):
    # Given text with the end of its turn, expect the text alone.
    def test_text(self):
        self.assertEqual(answers.parse("Red.<turn|><pad>"), answers.Answer("Red.", []))

    # Given a thought before the answer, expect both; an unclosed one leaves marks in the text.
    def test_thought(self):
        found = answers.parse("<|channel>thought\n2 + 2\n<channel|>4<turn|>")
        self.assertEqual((found.reasoning, found.text), ("2 + 2", "4"))
        self.assertTrue(found.well_formed)
        self.assertFalse(answers.parse("<|channel>thought\n2 + 2").well_formed)

    # Given calls as the chat format writes them, expect their names and arguments back.
    def test_calls(self):
        calls = [
            {"name": "convert", "arguments": {"value": 12, "unit": "miles", "to": "feet"}},
            {"name": "calculator", "arguments": {"expression": "3 * 4, really: {5}"}},
            {"name": "alarm", "arguments": {"minutes": 1.5}},
        ]
        text = "".join(
            f"<|tool_call>call:{call['name']}{prompt.mapping(call['arguments'])}<tool_call|>"
            for call in calls
        )
        found = answers.parse(text + "<|tool_response>")
        self.assertEqual(found, answers.Answer("", calls))

    # Given half a call, expect no call and a text that is not well-formed.
    def test_half_a_call(self):
        found = answers.parse('<|tool_call>call:weather{city:<|"|>Os')
        self.assertEqual(found.calls, [])
        self.assertFalse(found.well_formed)


if __name__ == "__main__":
    unittest.main()
