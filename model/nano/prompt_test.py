"""Tests of the chat format. Plain Python."""

import unittest

import prompt


class PromptTest(unittest.TestCase):
    # Given one user message, expect the literal prompt of Gemma 4 with thinking off.
    def test_single_turn(self):
        rendered = prompt.render([{"role": "user", "content": " Hello\n"}])
        self.assertEqual(
            rendered, "<bos><|turn>user\nHello<turn|>\n<|turn>model\n<|channel>thought\n<channel|>"
        )

    # Given history and a system text, expect finished model turns without an empty thought channel.
    def test_history_has_no_thought_channel(self):
        rendered = prompt.render(
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello!"},
                {"role": "user", "content": "2+2"},
            ]
        )
        self.assertEqual(
            rendered,
            "<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\nHi<turn|>\n"
            "<|turn>model\nHello!<turn|>\n"
            "<|turn>user\n2+2<turn|>\n<|turn>model\n<|channel>thought\n<channel|>",
        )

    # Given a training conversation, expect the prompt of its last turn, then the answer; only
    # answers are learned.
    def test_training_text_is_the_prompt_and_the_answer(self):
        messages = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "2+2"},
            {"role": "assistant", "content": "4"},
        ]
        segments = prompt.render_for_training(messages)
        self.assertEqual(
            "".join(text for text, _ in segments), prompt.render(messages[:-1]) + "4<turn|>"
        )
        self.assertEqual([text for text, learn in segments if learn], ["Hello!<turn|>", "4<turn|>"])


if __name__ == "__main__":
    unittest.main()
