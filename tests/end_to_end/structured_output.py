"""Answers under generated JSON schemas, each validated by the Python package jsonschema.

A thousand take some minutes, so not among the tests that are found by themselves:

    tests/end_to_end/run --bin DIR structured_output

FACET_SCHEMAS is how many (1,000 if unset), FACET_SEED where they begin.
"""
import concurrent.futures
import json
import os
import statistics
import time
import unittest

import jsonschema
from jsonschema import Draft202012Validator as Validator

import cluster
from schemas import make_schema

TOKENS_MAX = 256
# A slice of the 12B makes three to six a second on one thread.
SPEED_TOKENS, SPEED_PAIRS = 32, 5


def ask(server, schema, seed):
    """The answer's text and why it ended; half of them greedy."""
    status, _, text = server.request("POST", "/v1/chat/completions", json.dumps({
        "messages": [{"role": "user", "content": f"Describe thing {seed} as JSON."}],
        "max_tokens": TOKENS_MAX, "seed": seed, "temperature": seed % 2,
        "response_format": {"type": "json_schema",
                            "json_schema": {"name": "thing", "strict": True, "schema": schema}}}))
    if status != 200:
        return f"HTTP {status}: {text}", "refused"
    choice = json.loads(text)["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


def run_schemas(test, server, first, count):
    """Expects each answer that stopped to be valid. Gives back how many ended how."""
    ends = {}

    def one(seed):
        schema = make_schema(seed)
        text, end = ask(server, schema, seed)
        if end == "stop":
            try:
                Validator(schema, format_checker=Validator.FORMAT_CHECKER).validate(
                    json.loads(text))
            except (ValueError, jsonschema.ValidationError) as error:
                return seed, "invalid", f"{text!r} under {json.dumps(schema)}: {error}"
        return seed, end, f"{text!r} under {json.dumps(schema)}"

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for seed, end, detail in pool.map(one, range(first, first + count)):
            ends[end] = ends.get(end, 0) + 1
            if end not in ("stop", "length"):
                test.fail(f"schema of seed {seed}: {end}: {detail}")
    print(f"seeds {first} to {first + count - 1}: {ends.get('stop', 0)} valid, "
          f"{ends.get('length', 0)} cut at {TOKENS_MAX} tokens, "
          f"{time.monotonic() - began:.0f} s")
    return ends


def decode_rate(server, fields):
    """Tokens a second after the first, of a streamed answer of SPEED_TOKENS tokens."""
    times = []
    body = {"messages": [{"role": "user", "content": "Write a long list."}], "stream": True,
            "max_tokens": SPEED_TOKENS, "temperature": 0, "logprobs": True, **fields}
    with server.connect(600) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        for line in connection.getresponse():
            if line.startswith(b"data: {") and b'"logprobs":{' in line:
                times.append(time.monotonic())
    return (len(times) - 1) / (times[-1] - times[0])


class DecodeSpeedTest(unittest.TestCase):
    """For a model with the real vocabulary: run --model FILE structured_output.DecodeSpeedTest"""

    def test_a_schema_costs_little(self):
        servers = cluster.Cluster(worker_count=1)
        self.addCleanup(servers.stop)
        schema = {"type": "array", "minItems": 100, "items": {
            "type": "object", "required": ["name", "price"], "properties": {
                "name": {"type": "string", "maxLength": 60}, "price": {"type": "number"}}}}
        shapes = {"free": {"ignore_eos": True}, "schema": {"guided_json": schema}}
        rates = {name: [] for name in shapes}
        for _ in range(SPEED_PAIRS):
            for name, fields in shapes.items():
                rates[name].append(decode_rate(servers.router, fields))
        ratios = [a / b for a, b in zip(rates["schema"], rates["free"])]
        print(f"tokens/s without {statistics.median(rates['free']):.2f}, with a schema "
              f"{statistics.median(rates['schema']):.2f}; ratios of pairs "
              f"{[round(ratio, 3) for ratio in ratios]}, median {statistics.median(ratios):.3f}")
        self.assertGreater(statistics.median(ratios), 0.9)


class ThousandSchemasTest(unittest.TestCase):
    def test_every_answer_that_stops_is_valid(self):
        servers = cluster.Cluster(worker_count=1)
        self.addCleanup(servers.stop)
        ends = run_schemas(self, servers.router, int(os.environ.get("FACET_SEED", "1")),
                           int(os.environ.get("FACET_SCHEMAS", "1000")))
        self.assertGreater(ends.get("stop", 0), 0)
        self.assertIsNone(servers.router.exit_code)
