"""Tests of the evaluation's arithmetic, and of its endpoint mode against a server on the loopback.

Plain Python.
"""

import argparse
import http.server
import json
import threading
import unittest

import corpus
import evaluate


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


class EvaluateTest(unittest.TestCase):
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
            cases = corpus.evaluation_cases("greetings", corpus.UNSEEN, 40, seed=1)
            arguments = argparse.Namespace(endpoint=address, parallel=4)
            answers = evaluate.endpoint_answers(arguments, [case.messages for case in cases])
            row = evaluate.score([("greetings", corpus.UNSEEN, cases)], answers)[0]
            expected = sum(case.answer == "Goodbye!" for case in cases)
            self.assertEqual((row["right"], row["count"]), (expected, 40))
            self.assertGreater(expected, 0)
            self.assertEqual(len(row["wrong"]), 40 - expected)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


if __name__ == "__main__":
    unittest.main()
