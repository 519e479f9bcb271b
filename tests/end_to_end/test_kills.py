"""Streams over workers that are killed at random tokens: each must be, to the last bit of its log
probabilities, what it is undisturbed. FACET_KILLS says how many kills, FACET_KILLS_SEED which.

The workers draft, hold an adapter, and see and hear; the streams are of all KINDS at once."""
import base64
import collections
import contextlib
import http.client
import json
import os
import random
import tempfile
import threading
import time
import unittest

import cluster
from adapters import random_adapter
from prompts import chat_bodies

KILLS = int(os.environ.get("FACET_KILLS", 200))
SEED = int(os.environ.get("FACET_KILLS_SEED", 20260414))
CLIENTS = 6
# Longer than any stream here takes on a busy machine, a worker's restart included.
STREAM_DEADLINE_S = 120
TOOLS = [{"type": "function", "function": {
    "name": name, "description": f"Tells the {name}.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                   "required": ["city"]}}} for name in ("weather", "time")]


CARD = {"type": "json_schema", "json_schema": {"name": "card", "strict": True, "schema": {
    "type": "object", "additionalProperties": False, "required": ["name", "count", "tags"],
    "properties": {"name": {"type": "string"}, "count": {"type": "integer"},
                   "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}}}}}}


def example(name, kind):
    """One of model/nano/examples as a data URL."""
    with open(os.path.join(cluster.checkout, "model/nano/examples", name), "rb") as file:
        return f"data:{kind};base64,{base64.b64encode(file.read()).decode()}"


def media(part, question):
    return {"messages": [{"role": "user", "content": [part, {"type": "text", "text": question}]}]}


def penalized(body):
    return body | {"presence_penalty": 0.5, "repetition_penalty": 1.1, "min_p": 0.02}


# What a body is made into; the plain ones are those of prompts.chat_bodies.
KINDS = {
    "plain": lambda body: body | {"temperature": 0, "logprobs": True, "top_logprobs": 3},
    "sampled": lambda body: penalized(body) | {"temperature": 0.9, "logprobs": True},
    "two choices": lambda body: body | {"n": 2},
    "thinking": lambda body: body | {"chat_template_kwargs": {"enable_thinking": True}},
    "tools": lambda body: body | {"tools": TOOLS, "messages": [
        {"role": "user", "content": "What is the weather in Rome and the time in Oslo?"}]},
    "a forced call": lambda body: body | {"tools": TOOLS, "tool_choice": "required",
                                          "ignore_eos": False},
    "stop strings": lambda body: body | {"stop": ["e t", "9"]},
    "grammar": lambda body: body | {"response_format": CARD, "ignore_eos": False},
    "picture": lambda body: body | media(
        {"type": "image_url", "image_url": {"url": example("picture.png", "image/png")}},
        "Describe the picture."),
    "sound": lambda body: body | media(
        {"type": "audio_url", "audio_url": {"url": example("sound.wav", "audio/wav")}},
        "Transcribe the audio."),
    "adapter": lambda body: body | {"model": body["model"] + ":" + ADAPTER},
}
ADAPTER = "kept"


def bodies(model):
    """(kind, body) of each stream."""
    made = chat_bodies(3 * len(KINDS), max_tokens=150)
    return [(kind, KINDS[kind](body | {"model": model, "stream": True}))
            for kind, body in zip(list(KINDS) * 3, made)]


class Stream:
    """One answer as a client sees it, put together from its events."""

    def __init__(self, router, body, on_event=lambda event: None):
        self.choices = {}
        self.gaps_s = []
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", router.port,
                                                           STREAM_DEADLINE_S)) as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            response = connection.getresponse()
            assert response.status == 200, response.read()
            last = time.monotonic()
            self.ended = False
            for line in response:
                if not line.startswith(b"data: "):
                    continue
                now = time.monotonic()
                self.gaps_s.append(now - last)
                last = now
                if line == b"data: [DONE]\n":
                    self.ended = True
                    continue
                event = json.loads(line[len("data: "):])
                self._add(event)
                on_event(event)

    def _add(self, event):
        assert "error" not in event, event
        for choice in event["choices"]:
            whole = self.choices.setdefault(choice["index"], {
                "content": "", "reasoning_content": "", "calls": {}, "logprobs": [],
                "finish_reason": None})
            delta = choice["delta"]
            for name in ("content", "reasoning_content"):
                whole[name] += delta.get(name) or ""
            for call in delta.get("tool_calls", []):
                function = whole["calls"].setdefault(call["index"], ["", ""])
                function[0] += call["function"].get("name") or ""
                function[1] += call["function"].get("arguments") or ""
            if choice.get("logprobs"):
                whole["logprobs"] += choice["logprobs"]["content"]
            whole["finish_reason"] = choice["finish_reason"] or whole["finish_reason"]


class Progress:
    """Which answers have had no event since the last kill. A request that loses three workers
    without a token in between is given up, as what may have killed them; so nobody is killed
    before all answers went on."""

    def __init__(self):
        self._changed = threading.Condition()
        self._events = 0
        self._open = {}  # client -> {choice: whether it had an event since the last kill}
        self.broken = False  # A stream was not as it should be; set by end.

    def begin(self, client, choices):
        with self._changed:
            self._open[client] = dict.fromkeys(range(choices), True)

    def take(self, client, event):
        with self._changed:
            self._events += 1
            for choice in event["choices"]:
                self._open[client][choice["index"]] = True
                if choice["finish_reason"]:
                    del self._open[client][choice["index"]]
            self._changed.notify_all()

    def end(self, client, whole):
        with self._changed:
            del self._open[client]
            self.broken |= not whole
            self._changed.notify_all()

    def kill(self, events, kill):
        """Waits for so many events and for all to go on; then calls `kill`, unless broken."""
        def due():
            return self.broken or (self._events >= until and all(
                went_on for choices in self._open.values() for went_on in choices.values()))
        with self._changed:
            until = self._events + events
            self._changed.wait_for(due, STREAM_DEADLINE_S)
            if not self.broken:
                kill()
                for choices in self._open.values():
                    choices.update(dict.fromkeys(choices, False))


class KillTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="facet-kills-")
        self.addCleanup(folder.cleanup)
        random_adapter(os.path.join(folder.name, ADAPTER), cluster.model_path)
        nano = os.path.join(cluster.checkout, "model/nano")
        self.flags = (f"--mmproj={nano}/mmproj-facet-nano.gguf",
                      f"--assistant={nano}/facet-nano-assistant.gguf",
                      f"--adapter_dir={folder.name}")
        self.servers = cluster.Cluster(2, self.flags)
        self.addCleanup(self.servers.stop)
        self.router = self.servers.router
        self.random = random.Random(SEED)
        print(f"{KILLS} kills of seed {SEED}")

    def restart(self, index):
        """A worker in place of a killed one; somebody's connection may use its port for a while."""
        port = self.servers.workers[index].port

        def start():
            with contextlib.suppress(cluster.StartFailure):
                return cluster.Worker(*self.flags, port=port)
            return None
        self.servers.workers[index] = cluster.wait_until(start, f"port {port} to be free")

    def test_no_token_is_lost_repeated_or_changed(self):
        requests = bodies(self.router.get("/v1/models")["data"][0]["id"])
        expected = [Stream(self.router, body).choices for _, body in requests]
        stop, progress = threading.Event(), Progress()
        wrong, worst_gaps_s, ended = [], [], collections.Counter()

        def client(number):
            draw = random.Random(f"{SEED} {number}")
            while not stop.is_set():
                i = draw.randrange(len(requests))
                kind, body = requests[i]
                whole = False
                progress.begin(number, body.get("n", 1))
                try:
                    stream = Stream(self.router, body,
                                    lambda event: progress.take(number, event))
                    whole = stream.choices == expected[i] and stream.ended
                    if not whole:
                        wrong.append((kind, body, stream.choices, expected[i]))
                    worst_gaps_s.append(max(stream.gaps_s))
                    ended[kind] += 1
                except (AssertionError, OSError, http.client.HTTPException) as error:
                    wrong.append((kind, body, repr(error), expected[i]))
                progress.end(number, whole)

        clients = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
        for thread in clients:
            thread.start()
        try:
            for _ in range(KILLS):
                self.router.wait_workers(2)
                index = self.random.randrange(2)
                progress.kill(self.random.randint(1, 300), self.servers.workers[index].kill)
                if progress.broken:
                    break
                self.restart(index)
        finally:
            stop.set()
            for thread in clients:
                thread.join()
        moved = self.router.metric("facet_failovers_total") or 0
        gaps_s = sorted(worst_gaps_s)
        print(f"{len(gaps_s)} streams, {moved:.0f} of their answers went on elsewhere; longest "
              f"silence of a stream: median {1000 * gaps_s[len(gaps_s) // 2]:.0f} ms, p99 "
              f"{1000 * gaps_s[len(gaps_s) * 99 // 100]:.0f} ms, most {1000 * gaps_s[-1]:.0f} ms")
        print("streams of each kind: " + ", ".join(f"{ended[kind]} {kind}" for kind in KINDS))
        self.assertEqual(wrong[:1], [])
        self.assertEqual(set(ended), set(KINDS))
        self.assertGreater(moved, 0)
        self.assertEqual(self.router.metric("facet_failovers_total", exact="false"), 0)
