"""Tests of the chat format, against the literal texts of Gemma 4. Plain Python."""

import unittest

import prompt
import tools
from conversation import Conversation

WEATHER = tools.tool("get_weather", "Get current weather.", city=tools.STRING)
DECLARED = (
    '<|tool>declaration:get_weather{description:<|"|>Get current weather.<|"|>,parameters:'
    '{properties:{city:{type:<|"|>STRING<|"|>}},required:[<|"|>city<|"|>],'
    'type:<|"|>OBJECT<|"|>}}<tool|>'
)
ASKED = {"role": "user", "content": "Weather in Paris?"}
CALLED = {
    "role": "assistant",
    "reasoning": "I should call the tool.",
    "tool_calls": [{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}],
}
RESULT = {"role": "tool", "name": "get_weather", "content": "sunny, 21C"}
ANSWERED = {"role": "assistant", "content": "It is sunny.", "reasoning": "Now I know."}
CALL = '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:2}<tool_call|><|tool_response>'
RESPONSE = 'response:get_weather{value:<|"|>sunny, 21C<|"|>}<tool_response|>'


def learned(conversation):
    return [segment.text for segment in prompt.segments(conversation) if segment.learn]


class PromptTest(unittest.TestCase):
    # Given one user message, expect the literal prompt of Gemma 4 with thinking off.
    def test_single_turn(self):
        rendered = prompt.render(Conversation([{"role": "user", "content": " Hello\n"}]))
        self.assertEqual(
            rendered, "<bos><|turn>user\nHello<turn|>\n<|turn>model\n<|channel>thought\n<channel|>"
        )

    # Given history and a system text, expect finished model turns without an empty thought channel.
    def test_history_has_no_thought_channel(self):
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "2+2"},
        ]
        self.assertEqual(
            prompt.render(Conversation(messages)),
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
        asked, answered = Conversation(messages[:-1]), Conversation(messages)
        self.assertEqual(prompt.render(answered), prompt.render(asked) + "4<turn|>")
        self.assertEqual(learned(answered), ["Hello!<turn|>", "4<turn|>"])

    # Given thinking, expect the mark in the system turn, no empty channel, and a learned thought.
    def test_thinking(self):
        messages = [{"role": "system", "content": "You are terse."}, ASKED, ANSWERED]
        self.assertEqual(
            prompt.render(Conversation(messages[:-1], thinking=True)),
            "<bos><|turn>system\n<|think|>\nYou are terse.<turn|>\n"
            "<|turn>user\nWeather in Paris?<turn|>\n<|turn>model\n",
        )
        self.assertEqual(
            learned(Conversation(messages, thinking=True)),
            ["<|channel>thought\nNow I know.\n<channel|>It is sunny.<turn|>"],
        )

    # Given thinking and a finished turn, expect that its answer is not learned: it has no thought.
    def test_thinking_does_not_learn_finished_turns(self):
        messages = [ASKED, ANSWERED, ASKED, ANSWERED]
        self.assertEqual(len(learned(Conversation(messages, thinking=True))), 1)
        self.assertEqual(len(learned(Conversation(messages))), 2)

    # Given a tool, expect its literal declaration, and the call, its result and the answer in one
    # turn of the model.
    def test_tools(self):
        conversation = Conversation([ASKED, CALLED, RESULT, ANSWERED], (WEATHER,))
        self.assertEqual(
            prompt.render(conversation),
            f"<bos><|turn>system\n{DECLARED}<turn|>\n<|turn>user\nWeather in Paris?<turn|>\n"
            f"<|turn>model\n{CALL}{RESPONSE}It is sunny.<turn|>",
        )
        self.assertEqual(learned(conversation), [CALL, "It is sunny.<turn|>"])
        calls = Conversation([ASKED, CALLED], (WEATHER,))
        self.assertTrue(prompt.render(calls).endswith(f"<|channel>thought\n<channel|>{CALL}"))

    # Given thinking and a tool's result, expect that the prompt opens the next thought.
    def test_thought_after_a_result_is_opened_by_the_prompt(self):
        asked = Conversation([ASKED, CALLED, RESULT], thinking=True)
        self.assertTrue(
            prompt.render(asked).endswith(
                "<|channel>thought\nI should call the tool.\n<channel|>"
                + CALL
                + RESPONSE
                + "<|channel>thought\n"
            )
        )
        answered = Conversation([ASKED, CALLED, RESULT, ANSWERED], thinking=True)
        self.assertEqual(learned(answered)[1], "Now I know.\n<channel|>It is sunny.<turn|>")

    # Given two results, expect the second behind a mark of its own.
    def test_two_results(self):
        rendered = prompt.render(Conversation([ASKED, CALLED, RESULT, RESULT]))
        self.assertTrue(rendered.endswith(CALL + RESPONSE + "<|tool_response>" + RESPONSE))

    # Given parts of text and media, expect them joined without separators.
    def test_media_are_placeholders(self):
        content = [
            {"type": "image", "image": None},
            {"type": "text", "text": " Describe. "},
            {"type": "audio", "audio": None},
        ]
        rendered = prompt.render(Conversation([{"role": "user", "content": content}]))
        self.assertIn("<|turn>user\n<|image|>Describe.<|audio|><turn|>\n", rendered)


if __name__ == "__main__":
    unittest.main()
