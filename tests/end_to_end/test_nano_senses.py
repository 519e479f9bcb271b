"""facet-nano sees, hears, watches and calls tools, through each endpoint that takes such input.

The files are model/nano/examples, which training never saw; examples.py there says what they hold.
"""
import base64
import json
import os
import unittest

import anthropic
import grpc
import openai

import cluster
import contracts

SEEN = ("Describe the picture.",
        "A yellow circle (top right), a blue triangle (middle), a purple square (bottom).")
HEARD = ("Transcribe the audio.", "zero seven three")
WATCHED = ("Which way does the cross move?", "Left.")
WANTED = "What is the weather in Paris?"
WEATHER = {"name": "weather", "description": "The current weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
CITY = {"city": "Paris"}
RESULT = "rainy, 17 degrees"
REPORT = "The weather in Paris is rainy, 17 degrees."


def setUpModule():
    global servers, chat_client, messages_client
    nano = os.path.join(cluster.checkout, "model/nano")
    flags = (f"--mmproj={nano}/mmproj-facet-nano.gguf",
             f"--assistant={nano}/facet-nano-assistant.gguf")
    servers = cluster.Cluster(1, flags)
    unittest.addModuleCleanup(servers.stop)
    base = f"http://127.0.0.1:{servers.router.port}"
    chat_client = openai.OpenAI(base_url=f"{base}/v1", api_key="unused", max_retries=0, timeout=60)
    unittest.addModuleCleanup(chat_client.close)
    messages_client = anthropic.Anthropic(base_url=base, api_key="unused", max_retries=0,
                                          timeout=60)
    unittest.addModuleCleanup(messages_client.close)


def example(name):
    with open(os.path.join(cluster.checkout, "model/nano/examples", name), "rb") as file:
        return file.read()


def encoded(name):
    return base64.b64encode(example(name)).decode()


def picture():
    return {"type": "image_url",
            "image_url": {"url": "data:image/png;base64," + encoded("picture.png")}}


def sound():
    return {"type": "input_audio", "input_audio": {"data": encoded("sound.wav"), "format": "wav"}}


def clip():
    return {"type": "video_url",
            "video_url": {"url": "data:video/x-matroska;base64," + encoded("clip.mkv")}}


def user(content):
    return {"role": "user", "content": content}


def chat_body(part, question):
    return {"messages": [user([part, {"type": "text", "text": question}])], "temperature": 0}


class ChatCompletionsTest(unittest.TestCase):
    def check(self, part, question, answer):
        given = chat_client.chat.completions.create(model="", **chat_body(part, question))
        self.assertEqual(given.choices[0].message.content, answer)

    def test_picture(self):
        self.check(picture(), *SEEN)

    def test_sound(self):
        self.check(sound(), *HEARD)

    def test_clip(self):
        self.check(clip(), *WATCHED)

    def test_tool_round_trip(self):
        def ask(messages):
            tools = [{"type": "function", "function": WEATHER}]
            return chat_client.chat.completions.create(
                model="", messages=messages, tools=tools, temperature=0).choices[0].message
        message = ask([user(WANTED)])
        call, = message.tool_calls
        self.assertEqual((call.function.name, json.loads(call.function.arguments)),
                         (WEATHER["name"], CITY))
        answer = ask([user(WANTED), message.model_dump(exclude_none=True),
                      {"role": "tool", "tool_call_id": call.id, "content": RESULT}])
        self.assertEqual(answer.content, REPORT)


class CompletionsTest(unittest.TestCase):
    # A completion takes the chat's prompt as ids, with the soft tokens' files beside them.
    def check(self, part, question, answer):
        body = chat_body(part, question)
        tokens = servers.router.post("/tokenize", {"messages": body["messages"]})["tokens"]
        given = servers.router.post("/v1/completions", {
            "prompt": tokens, "media": [part], "temperature": 0, "max_tokens": 100})
        self.assertEqual(given["choices"][0]["text"], answer)

    def test_picture(self):
        self.check(picture(), *SEEN)

    def test_sound(self):
        self.check(sound(), *HEARD)

    def test_clip(self):
        self.check(clip(), *WATCHED)


class ResponsesTest(unittest.TestCase):
    def check(self, part, question, answer):
        given = chat_client.responses.create(
            model="", input=[user([part, {"type": "input_text", "text": question}])],
            temperature=0)
        self.assertEqual(given.output_text, answer)

    def test_picture(self):
        self.check({"type": "input_image", "image_url": picture()["image_url"]["url"]}, *SEEN)

    def test_sound(self):
        self.check(sound(), *HEARD)

    def test_tool_round_trip(self):
        def ask(items):
            return chat_client.responses.create(model="", input=items, temperature=0,
                                                tools=[{"type": "function", **WEATHER}])
        call, = ask([user(WANTED)]).output
        self.assertEqual((call.name, json.loads(call.arguments)), (WEATHER["name"], CITY))
        answer = ask([user(WANTED), call.model_dump(exclude_none=True),
                      {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}])
        self.assertEqual(answer.output_text, REPORT)


class MessagesTest(unittest.TestCase):
    def ask(self, messages, **fields):
        return messages_client.messages.create(model="", max_tokens=100, messages=messages,
                                               extra_body={"temperature": 0}, **fields)

    def check(self, kind, media_type, name, question, answer):
        source = {"type": "base64", "media_type": media_type, "data": encoded(name)}
        given = self.ask([user([{"type": kind, "source": source},
                                {"type": "text", "text": question}])])
        self.assertEqual([block.text for block in given.content], [answer])

    def test_picture(self):
        self.check("image", "image/png", "picture.png", *SEEN)

    def test_sound(self):
        self.check("audio", "audio/wav", "sound.wav", *HEARD)

    def test_tool_round_trip(self):
        tools = [{"name": WEATHER["name"], "description": WEATHER["description"],
                  "input_schema": WEATHER["parameters"]}]
        message = self.ask([user(WANTED)], tools=tools)
        call, = message.content
        self.assertEqual((call.name, call.input), (WEATHER["name"], CITY))
        answer = self.ask([user(WANTED), {"role": "assistant", "content": message.content},
                           user([{"type": "tool_result", "tool_use_id": call.id,
                                  "content": RESULT}])], tools=tools)
        self.assertEqual(answer.content[0].text, REPORT)


class TranscriptionsTest(unittest.TestCase):
    def test_sound(self):
        given = chat_client.audio.transcriptions.create(
            model="", file=("sound.wav", example("sound.wav")))
        self.assertEqual(given.text, HEARD[1])


class GrpcTest(unittest.TestCase):
    """facet.v1.Inference, which takes the body of a chat completion."""

    @classmethod
    def setUpClass(cls):
        messages = contracts.read("proto/inference.proto", "GenerateTextRequest",
                                  "GenerateTextReply")
        channel = grpc.insecure_channel(f"127.0.0.1:{servers.router.grpc_port}")
        cls.addClassCleanup(channel.close)
        cls.generate = staticmethod(channel.unary_stream(
            "/facet.v1.Inference/Generate",
            request_serializer=messages["GenerateTextRequest"].SerializeToString,
            response_deserializer=messages["GenerateTextReply"].FromString))
        cls.request = messages["GenerateTextRequest"]

    def ask(self, body):
        """The answer's text, and its calls as (name, arguments)."""
        text, calls = "", {}
        for reply in self.generate(self.request(chat_json=json.dumps(body)), timeout=60):
            text += reply.content
            for delta in reply.tool_calls:
                name, arguments = calls.get(delta.index, ("", ""))
                calls[delta.index] = name + delta.name, arguments + delta.arguments
        return text, [(name, json.loads(arguments)) for name, arguments in calls.values()]

    def check(self, part, question, answer):
        self.assertEqual(self.ask(chat_body(part, question)), (answer, []))

    def test_picture(self):
        self.check(picture(), *SEEN)

    def test_sound(self):
        self.check(sound(), *HEARD)

    def test_clip(self):
        self.check(clip(), *WATCHED)

    def test_tool_round_trip(self):
        body = {"messages": [user(WANTED)], "temperature": 0,
                "tools": [{"type": "function", "function": WEATHER}]}
        self.assertEqual(self.ask(body), ("", [(WEATHER["name"], CITY)]))
        function = {"name": WEATHER["name"], "arguments": json.dumps(CITY)}
        body["messages"] += [
            {"role": "assistant",
             "tool_calls": [{"id": "call_0", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": "call_0", "content": RESULT}]
        self.assertEqual(self.ask(body), (REPORT, []))
