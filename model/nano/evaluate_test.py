"""Tests of the evaluation's arithmetic, and of its endpoint mode against a server on the loopback.

Needs numpy.
"""

import argparse
import http.server
import json
import threading
import unittest

import evaluate
import tasks
from answers import Answer
from conversation import Case, Conversation


class AnswersEverythingWithBye(http.server.BaseHTTPRequestHandler):
    """A server that takes one model and answers "Goodbye!" to every chat."""

    def do_GET(self):
        self.reply({"data": [{"id": "facet-nano"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ok = (
            self.path == "/v1/chat/completions"
            and body["model"] == "facet-nano"
            and body["temperature"] == 0
        )
        content = "Goodbye!" if ok and body["messages"][-1]["role"] == "user" else "wrong request"
        self.reply({"choices": [{"message": {"role": "assistant", "content": content}}]})

    def reply(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


class RefusesPictures(AnswersEverythingWithBye):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b"image_url" in body:
            self.send_response(400)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
        else:
            self.reply({"choices": [{"message": {"role": "assistant", "content": "Goodbye!"}}]})


class EvaluateTest(unittest.TestCase):
    # Given a server that refuses pictures, expect their tasks to be left out and others to stay.
    def test_refused_tasks_are_left_out(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RefusesPictures)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            arguments = argparse.Namespace(endpoint=f"http://127.0.0.1:{server.server_port}")
            for name, taken in (("picture: count", False), ("memory", True)):
                row = tasks.make(name, 1, seed=1, bank=None)[0]
                self.assertEqual(evaluate.endpoint_takes(arguments, *row), taken)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    # Given known proportions, expect Wilson's interval as published tables have it.
    def test_interval(self):
        self.assertEqual(evaluate.interval(0, 0), (0.0, 100.0))
        self.assertEqual(evaluate.interval(5, 10), (23.7, 76.3))
        self.assertEqual(evaluate.interval(10, 10)[1], 100.0)
        self.assertEqual(str(evaluate.interval(0, 60)[0]), "0.0")  # not -0.0

    # Given a server with one fixed answer, expect just the cases with this answer to count as
    # right.
    def test_endpoint_answers_are_scored(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), AnswersEverythingWithBye)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}"
            found = tasks.make("greetings", 40, seed=1, bank=None)[:1]
            cases = found[0][2]
            arguments = argparse.Namespace(endpoint=address, parallel=4)
            given = evaluate.endpoint_answers(arguments, [case.conversation for case in cases])
            row = evaluate.score(found, given)[0]
            expected = sum(case.answer == "Goodbye!" for case in cases)
            self.assertEqual((row["right"], row["count"]), (expected, 40))
            self.assertGreater(expected, 0)
            self.assertEqual(len(row["wrong"]), 40 - expected)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    # Given expected calls, expect only exactly these to be right, and a call where none is wanted to
    # count as a false one.
    def test_calls_are_compared_exactly(self):
        call = {"name": "weather", "arguments": {"city": "Oslo"}}
        case = Case(Conversation([]), calls=[call])
        self.assertTrue(evaluate.is_right(case, Answer("", [call])))
        self.assertFalse(evaluate.is_right(case, Answer("", [call, call])))
        other = {"name": "weather", "arguments": {"city": "Rome"}}
        self.assertFalse(evaluate.is_right(case, Answer("", [other])))
        asked = Conversation([{"role": "user", "content": "Hello"}])
        none = Case(asked, "Hello!", calls=[])
        row = evaluate.score([("no call", "unseen", [none])], [Answer("Hello!", [call])])[0]
        self.assertEqual((row["right"], row["false_calls"]), (0, 1))

    # Given a case with thinking, expect an answer without a thought to be wrong, and the reverse.
    def test_thoughts_are_required_where_thinking_is_on(self):
        thoughtful = Case(Conversation([]), "4", reasoning=True)
        self.assertTrue(evaluate.is_right(thoughtful, Answer("4", [], "2 + 2 = 4")))
        self.assertFalse(evaluate.is_right(thoughtful, Answer("4", [])))
        self.assertFalse(evaluate.is_right(Case(Conversation([]), "4"), Answer("4", [], "hm")))
        self.assertFalse(evaluate.is_right(thoughtful, Answer("4<|turn>", [], "2 + 2")))

    # Given a conversation with tools, expect the request that the OpenAI API takes.
    def test_request_body(self):
        case = tasks.make("tools: from the result", 1, seed=1, bank=None)[0][2][0]
        body = evaluate.request_body("facet-nano", case.conversation)
        self.assertEqual(body["tools"][0]["type"], "function")
        calls, result = body["messages"][1]["tool_calls"], body["messages"][2]
        self.assertEqual(calls[0]["id"], result["tool_call_id"])
        self.assertIsInstance(json.loads(calls[0]["function"]["arguments"]), dict)


if __name__ == "__main__":
    unittest.main()
