"""The OpenAI Python SDK: tools, thinking, and the Responses API, whole and streamed."""
import json
import tempfile
import unittest

import openai

import scripted

CHAT_TOOLS = [{"type": "function", "function": {
    "name": scripted.TOOL, "description": scripted.DESCRIPTION, "parameters": scripted.SCHEMA}}]
RESPONSES_TOOLS = [{"type": "function", "name": scripted.TOOL, "strict": False,
                    "description": scripted.DESCRIPTION, "parameters": scripted.SCHEMA}]


def setUpModule():
    global client
    folder = tempfile.TemporaryDirectory(prefix="facet-responses-")
    unittest.addModuleCleanup(folder.cleanup)
    servers = scripted.start(f"--response_dir={folder.name}")
    unittest.addModuleCleanup(servers.stop)
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{servers.router.port}/v1", api_key="unused",
                           max_retries=0, timeout=60)
    unittest.addModuleCleanup(client.close)


class ChatToolsTest(unittest.TestCase):
    QUESTION = [{"role": "user", "content": scripted.QUESTION}]

    def ask(self, messages, **fields):
        return client.chat.completions.create(model="small", messages=messages, tools=CHAT_TOOLS,
                                              **fields)

    def test_round_trip(self):
        choice = self.ask(self.QUESTION, reasoning_effort="high").choices[0]
        message = choice.message
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assertEqual(message.content, scripted.TEXT)
        self.assertEqual(message.reasoning_content, scripted.THOUGHT)
        self.assertEqual(message.reasoning, scripted.THOUGHT)
        call = message.tool_calls[0]
        self.assertEqual(call.function.name, scripted.TOOL)
        self.assertEqual(json.loads(call.function.arguments), scripted.ARGUMENTS)
        answer = self.ask([*self.QUESTION, message.model_dump(exclude_none=True),
                           {"role": "tool", "tool_call_id": call.id, "content": scripted.RESULT}])
        self.assertEqual(answer.choices[0].message.content, scripted.ANSWER)
        self.assertEqual(answer.choices[0].finish_reason, "stop")

    def test_the_sdk_puts_a_stream_together(self):
        whole = self.ask(self.QUESTION)
        with client.chat.completions.stream(model="small", messages=self.QUESTION,
                                            tools=CHAT_TOOLS) as stream:
            message = stream.get_final_completion().choices[0].message
        self.assertEqual(message.content, scripted.TEXT)
        self.assertEqual(message.reasoning_content, scripted.THOUGHT)
        self.assertEqual(len(message.tool_calls), 1)
        self.assertEqual(json.loads(message.tool_calls[0].function.arguments), scripted.ARGUMENTS)
        self.assertGreater(whole.usage.completion_tokens_details.reasoning_tokens,
                           len(scripted.THOUGHT) / 4)


class ResponsesTest(unittest.TestCase):
    def ask(self, given=scripted.QUESTION, **fields):
        return client.responses.create(model="small", input=given, tools=RESPONSES_TOOLS, **fields)

    def check_call(self, response):
        self.assertEqual(response.status, "completed")
        self.assertEqual([item.type for item in response.output],
                         ["reasoning", "message", "function_call"])
        self.assertEqual(response.output[0].content[0].text, scripted.THOUGHT)
        self.assertEqual(response.output_text, scripted.TEXT)
        call = response.output[2]
        self.assertEqual((call.name, json.loads(call.arguments)),
                         (scripted.TOOL, scripted.ARGUMENTS))
        return call

    def test_goes_on_by_id(self):
        first = self.ask(reasoning={"effort": "low"}, metadata={"who": "a test"})
        call = self.check_call(first)
        self.assertEqual(first.metadata, {"who": "a test"})
        output = {"type": "function_call_output", "call_id": call.call_id, "output": scripted.RESULT}
        second = self.ask([output], previous_response_id=first.id)
        self.assertEqual(second.output_text, scripted.ANSWER)
        self.assertEqual(client.responses.retrieve(second.id).output_text, scripted.ANSWER)
        # The same with the items sent again, as clients do that keep nothing here.
        items = [{"role": "user", "content": scripted.QUESTION},
                 *[item.model_dump(exclude_none=True) for item in first.output], output]
        self.assertEqual(self.ask(items, store=False).output_text, scripted.ANSWER)
        client.responses.delete(first.id)
        with self.assertRaises(openai.NotFoundError) as raised:
            self.ask([output], previous_response_id=first.id)
        self.assertEqual(raised.exception.code, "previous_response_not_found")

    def test_the_sdk_puts_a_stream_together(self):
        with client.responses.stream(model="small", input=scripted.QUESTION,
                                     tools=RESPONSES_TOOLS) as stream:
            events = list(stream)
            self.check_call(stream.get_final_response())
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        thought = "".join(e.delta for e in events if e.type == "response.reasoning_text.delta")
        self.assertEqual((thought, text), (scripted.THOUGHT, scripted.TEXT))

    def test_a_cut_answer_says_so(self):
        response = self.ask(max_output_tokens=3)
        self.assertEqual(response.status, "incomplete")
        self.assertEqual(response.incomplete_details.reason, "max_output_tokens")

    def test_errors_name_the_field(self):
        for fields, param in (({"temperature": 3}, "temperature"),
                              ({"max_output_tokens": 0}, "max_output_tokens"),
                              ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
                               "input[0].content[0]")):
            with self.assertRaises(openai.BadRequestError) as raised:
                client.responses.create(**{"model": "small", "input": "a", **fields})
            self.assertEqual(raised.exception.param, param)
