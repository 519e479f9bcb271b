"""LiteLLM, by its OpenAI and its Anthropic provider."""
import json
import os
import unittest

# Else it asks the network for a table of prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # noqa: E402

import scripted  # noqa: E402

litellm.suppress_debug_info = True
TOOLS = [{"type": "function", "function": {
    "name": scripted.TOOL, "description": scripted.DESCRIPTION, "parameters": scripted.SCHEMA}}]
QUESTION = {"role": "user", "content": scripted.QUESTION}


def setUpModule():
    global url
    servers = scripted.start()
    unittest.addModuleCleanup(servers.stop)
    url = f"http://127.0.0.1:{servers.router.port}"


class LiteLlmTest(unittest.TestCase):
    def round_trip(self, model, base):
        def ask(*messages, **fields):
            return litellm.completion(model=model, api_base=base, api_key="unused", tools=TOOLS,
                                      messages=list(messages), num_retries=0, timeout=60,
                                      max_tokens=2000, **fields)
        message = ask(QUESTION).choices[0].message
        self.assertEqual(message.content, scripted.TEXT)
        self.assertEqual(message.reasoning_content, scripted.THOUGHT)
        call = message.tool_calls[0]
        self.assertEqual((call.function.name, json.loads(call.function.arguments)),
                         (scripted.TOOL, scripted.ARGUMENTS))
        answer = ask(QUESTION, message.model_dump(exclude_none=True),
                     {"role": "tool", "tool_call_id": call.id, "content": scripted.RESULT})
        self.assertEqual(answer.choices[0].message.content, scripted.ANSWER)
        chunks = list(ask(QUESTION, stream=True))
        whole = litellm.stream_chunk_builder(chunks).choices[0].message
        self.assertEqual(whole.content, scripted.TEXT)
        self.assertEqual(json.loads(whole.tool_calls[0].function.arguments), scripted.ARGUMENTS)

    def test_openai(self):
        self.round_trip("openai/small", url + "/v1")

    def test_anthropic(self):
        self.round_trip("anthropic/small", url)
