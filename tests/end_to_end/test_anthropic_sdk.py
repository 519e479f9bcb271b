"""The Anthropic Python SDK: thinking, tools, streams, counting, errors."""
import unittest

import anthropic

import scripted

TOOLS = [{"name": scripted.TOOL, "description": scripted.DESCRIPTION,
          "input_schema": scripted.SCHEMA}]
QUESTION = [{"role": "user", "content": scripted.QUESTION}]


def setUpModule():
    global client
    servers = scripted.start()
    unittest.addModuleCleanup(servers.stop)
    client = anthropic.Anthropic(base_url=f"http://127.0.0.1:{servers.router.port}",
                                 api_key="unused", max_retries=0, timeout=60)
    unittest.addModuleCleanup(client.close)


def ask(messages=None, **fields):
    return client.messages.create(**{"model": "small", "max_tokens": 2000, "tools": TOOLS,
                                     "messages": messages or QUESTION, **fields})


class MessagesTest(unittest.TestCase):
    def check_call(self, message):
        self.assertEqual([block.type for block in message.content],
                         ["thinking", "text", "tool_use"])
        thought, text, call = message.content
        self.assertEqual(thought.thinking, scripted.THOUGHT)
        self.assertEqual(text.text, scripted.TEXT)
        self.assertEqual((call.name, call.input), (scripted.TOOL, scripted.ARGUMENTS))
        self.assertEqual(message.stop_reason, "tool_use")
        return call

    def test_round_trip(self):
        message = ask(thinking={"type": "enabled", "budget_tokens": 1024}, system="Be terse.")
        call = self.check_call(message)
        self.assertGreater(message.usage.input_tokens, 0)
        answer = ask([*QUESTION, {"role": "assistant", "content": message.content},
                      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id,
                                                    "content": scripted.RESULT}]}])
        self.assertEqual(answer.content[0].text, scripted.ANSWER)
        self.assertEqual(answer.stop_reason, "end_turn")

    def test_the_sdk_puts_a_stream_together(self):
        with client.messages.stream(model="small", max_tokens=2000, tools=TOOLS,
                                    messages=QUESTION) as stream:
            text = "".join(stream.text_stream)
            message = stream.get_final_message()
        self.assertEqual(text, scripted.TEXT)
        self.check_call(message)
        self.assertEqual(message.usage.output_tokens, ask().usage.output_tokens)

    def test_ends(self):
        cut = ask(max_tokens=3)
        self.assertEqual((cut.stop_reason, cut.usage.output_tokens), ("max_tokens", 3))
        stopped = ask(stop_sequences=["look"])
        self.assertEqual((stopped.stop_reason, stopped.stop_sequence), ("stop_sequence", "look"))
        self.assertEqual(stopped.content[-1].text, scripted.TEXT.split("look")[0])

    def test_count_is_what_the_message_counts(self):
        count = client.messages.count_tokens(model="small", tools=TOOLS, messages=QUESTION)
        self.assertEqual(count.input_tokens, ask().usage.input_tokens)

    def test_errors_are_the_sdks_own(self):
        with self.assertRaises(anthropic.BadRequestError) as raised:
            ask(extra_body={"temperature": 3})
        self.assertEqual(raised.exception.body["error"]["type"], "invalid_request_error")
        self.assertIn("`temperature`", raised.exception.body["error"]["message"])
        with self.assertRaises(anthropic.NotFoundError):
            ask(model="another-model")
