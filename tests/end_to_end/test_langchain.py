"""LangChain's OpenAI chat model: tools bound, called and answered, whole and streamed."""
import unittest

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

import scripted

TOOL = {"name": scripted.TOOL, "description": scripted.DESCRIPTION, "parameters": scripted.SCHEMA}


def setUpModule():
    global url
    servers = scripted.start()
    unittest.addModuleCleanup(servers.stop)
    url = f"http://127.0.0.1:{servers.router.port}/v1"


class LangChainTest(unittest.TestCase):
    def round_trip(self, **fields):
        model = ChatOpenAI(model="small", base_url=url, api_key="unused", max_retries=0,
                           timeout=60, **fields).bind_tools([TOOL])
        question = HumanMessage(scripted.QUESTION)
        message = model.invoke([question])
        self.assertEqual(message.text, scripted.TEXT)
        call = message.tool_calls[0]
        self.assertEqual((call["name"], call["args"]), (scripted.TOOL, scripted.ARGUMENTS))
        self.assertGreater(message.usage_metadata["output_tokens"], 3)
        answer = model.invoke([question, message,
                               ToolMessage(scripted.RESULT, tool_call_id=call["id"])])
        self.assertEqual(answer.text, scripted.ANSWER)
        whole = None
        for chunk in model.stream([question]):
            whole = chunk if whole is None else whole + chunk
        self.assertEqual(whole.text, scripted.TEXT)
        self.assertEqual(whole.tool_calls[0]["args"], scripted.ARGUMENTS)

    def test_chat_completions(self):
        self.round_trip()

    def test_responses(self):
        self.round_trip(use_responses_api=True)
