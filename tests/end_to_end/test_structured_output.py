"""Structured output over HTTP: schemas, regular expressions, choices, grammars, forced tool calls."""
import json
import re
import unittest

import jsonschema

import cluster
from structured_output import run_schemas

GREETING = [{"role": "user", "content": "Tell me about the weather in Paris."}]
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the weather.",
    "parameters": {"type": "object", "required": ["city", "days"], "properties": {
        "city": {"type": "string", "maxLength": 20},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "unit": {"enum": ["celsius", "fahrenheit"]}}}}}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {
    "type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"]}}}


def setUpModule():
    global servers
    servers = cluster.Cluster(worker_count=1)
    unittest.addModuleCleanup(servers.stop)


def post(path, **fields):
    status, _, text = servers.router.request("POST", path, json.dumps(fields))
    return status, json.loads(text)


def chat(**fields):
    return post("/v1/chat/completions", **{"messages": GREETING, "max_tokens": 200, **fields})


class StructuredOutputTest(unittest.TestCase):
    def answer(self, **fields):
        """Of answers at several temperatures, each whole one."""
        whole = []
        for seed in range(6):
            status, body = chat(seed=seed, temperature=seed % 3 / 2, **fields)
            self.assertEqual(status, 200, body)
            choice = body["choices"][0]
            if choice["finish_reason"] != "length":
                whole.append(choice)
        self.assertTrue(whole)
        return whole

    def test_generated_schemas(self):
        ends = run_schemas(self, servers.router, 1, 50)
        self.assertGreater(ends.get("stop", 0), 20)

    def test_regex_choice_and_grammar(self):
        pattern = "[A-Z][a-z]{2,8}: [0-9]{2}(\\.[0-9])?"
        grammar = 'root ::= greeting " " greeting | greeting\ngreeting ::= "hello" | "bye"{1,2}'
        for fields, expected in [
                ({"structured_outputs": {"regex": pattern}}, pattern),
                ({"guided_regex": pattern}, pattern),
                ({"structured_outputs": {"choice": ["warm", "very cold"]}}, "warm|very cold"),
                ({"guided_choice": ["a\"b", "c\\d"]}, 'a"b|c\\\\d'),
                ({"guided_grammar": grammar}, "((hello|(bye){1,2}) )?(hello|(bye){1,2})")]:
            with self.subTest(fields=fields):
                for choice in self.answer(**fields):
                    self.assertRegex(choice["message"]["content"], re.compile(f"^({expected})$"))

    def test_json_object(self):
        for choice in self.answer(response_format={
                "type": "json_object", "schema": {"type": "object", "maxProperties": 1}}):
            self.assertIsInstance(json.loads(choice["message"]["content"]), dict)
        status, body = chat(response_format={"type": "json_object"})
        self.assertEqual(status, 200, body)
        self.assertTrue(body["choices"][0]["message"]["content"].startswith("{"))

    def test_thinking_comes_before_the_grammar(self):
        for choice in self.answer(guided_choice=["yes", "no"], max_tokens=400,
                                  chat_template_kwargs={"enable_thinking": True}):
            self.assertIn(choice["message"]["content"], ["yes", "no"])

    def test_completions(self):
        status, body = post("/v1/completions", prompt="The sky is", max_tokens=20,
                            guided_choice=[" blue", " green"])
        self.assertEqual(status, 200, body)
        self.assertIn(body["choices"][0]["text"], [" blue", " green"])

    def test_stream_is_the_whole_answer(self):
        fields = {"guided_json": json.dumps({"type": "object", "properties": {
            "a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a", "b"]}),
                  "temperature": 0}
        whole = self.answer(**{key: value for key, value in fields.items() if key != "temperature"})
        self.assertTrue(whole)
        status, body = chat(**fields)
        stream = servers.router.request("POST", "/v1/chat/completions", json.dumps({
            "messages": GREETING, "max_tokens": 200, "stream": True, **fields}))[2]
        text = ""
        for line in stream.splitlines():
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
        self.assertEqual(status, 200)
        self.assertEqual(text, body["choices"][0]["message"]["content"])

    def test_required_and_named_tools_are_called_with_valid_arguments(self):
        tools = {tool["function"]["name"]: tool["function"] for tool in (WEATHER, CLOCK)}
        for choice, names in [("required", {"get_weather", "get_time"}),
                              ({"type": "function", "function": {"name": "get_time"}},
                               {"get_time"})]:
            for answer in self.answer(tools=[WEATHER, CLOCK], tool_choice=choice,
                                      parallel_tool_calls=False):
                calls = answer["message"]["tool_calls"]
                self.assertEqual(answer["finish_reason"], "tool_calls")
                self.assertEqual(len(calls), 1)
                function = calls[0]["function"]
                self.assertIn(function["name"], names)
                jsonschema.validate(json.loads(function["arguments"]),
                                    tools[function["name"]]["parameters"])

    def test_bad_input_names_the_field(self):
        schema = "response_format.json_schema.schema"

        def json_schema(value):
            return {"response_format": {"type": "json_schema",
                                        "json_schema": {"name": "x", "schema": value}}}
        recursive = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
        for fields, param, words in [
                ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
                ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", ""),
                (json_schema(3), schema, "JSON schema"),
                (json_schema({"type": "strnig"}), schema, "strnig"),
                (json_schema(recursive), schema, "no value satisfies"),
                (json_schema({"type": "string", "minLength": 3, "maxLength": 2}), schema,
                 "no value satisfies"),
                (json_schema({"not": {}}), schema, "schema.not"),
                (json_schema({"enum": [f"{i:0200}" for i in range(5000)]}), schema, ""),
                ({"guided_json": "{"}, "guided_json", "not JSON"),
                ({"guided_regex": "(a"}, "guided_regex", "brackets"),
                ({"guided_regex": "(?=a)"}, "guided_regex", "not supported"),
                ({"guided_regex": "(" * 1000 + ")" * 1000}, "guided_regex", ""),
                ({"guided_regex": "a" * 5000}, "guided_regex", "limit"),
                ({"guided_choice": []}, "guided_choice", "1 to"),
                ({"guided_choice": [1]}, "guided_choice[0]", "string"),
                ({"guided_grammar": "start ::= \"a\""}, "guided_grammar", "root"),
                ({"guided_grammar": "root ::= (\"a\""}, "guided_grammar", ""),
                ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_choice", "exclude"),
                ({"structured_outputs": 3}, "structured_outputs", "object"),
                ({"guided_regex": "a", "ignore_eos": True}, "ignore_eos", "exclude"),
                ({"tool_choice": "required"}, "tool_choice", "tools"),
                ({"tools": [CLOCK], "tool_choice": "sometimes"}, "tool_choice", ""),
                ({"tools": [CLOCK], "tool_choice": {"type": "function",
                                                    "function": {"name": "f"}}},
                 "tool_choice", "`f`"),
                ({"tools": [{"type": "function", "function": {"name": "f",
                                                              "parameters": recursive}}],
                  "tool_choice": "required"}, "tools", "no value satisfies")]:
            with self.subTest(fields=str(fields)[:200]):
                status, body = chat(**fields)
                self.assertEqual(status, 400, body)
                self.assertEqual(body["error"]["param"], param, body)
                self.assertIn(words, body["error"]["message"])
        self.assertEqual(chat(guided_choice=["still", "serving"])[0], 200)
