"""A worker's host that vanishes without a word: its network ends, nothing is refused or reset.

The router and its client run in one network namespace, a worker in another, and the wire between
them is cut. Needs root and namespaces; else it is skipped.
"""
import http.client
import json
import time

import cluster
from two_hosts import TwoHostsTest, enter

NOTICED_WITHIN_S = 5
BODY = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3000, "ignore_eos": True,
        "temperature": 0, "stream": True, "logprobs": True}
EVENTS_BEFORE_THE_CUT = 20


class VanishedHostTest(TwoHostsTest):
    def test_its_streams_go_on_elsewhere(self):
        self.in_a_thread(self.check)

    def start_worker(self, host):
        worker = cluster.Worker(f"--host={host}")
        self.addCleanup(worker.stop)
        worker.address = f"{host}:{worker.port}"
        return worker

    def check(self):
        enter(self.far)
        vanishing = self.start_worker(self.FAR_HOST)
        enter(self.near)
        staying = self.start_worker("127.0.0.1")
        router = cluster.Router([vanishing, staying])
        self.addCleanup(router.stop)
        router.wait_workers(2)

        # Of two at the same time, each worker has one.
        streams = [self.open_stream(router) for _ in range(2)]
        by_worker = {stream.worker: stream for stream in streams}
        self.assertEqual(set(by_worker), {vanishing.address, staying.address})
        moved, undisturbed = by_worker[vanishing.address], by_worker[staying.address]
        for _ in range(EVENTS_BEFORE_THE_CUT):
            moved.read()
        self.cut_wire()
        cut = time.monotonic()
        # What was on its way comes at once; the longest silence is that of the cut.
        silence_s, last = 0, cut
        while moved.read():
            now = time.monotonic()
            silence_s, last = max(silence_s, now - last), now
        print(f"the stream was silent for {silence_s:.2f} s")
        while undisturbed.read():
            pass
        self.assertEqual((moved.text, moved.tokens), (undisturbed.text, undisturbed.tokens))
        self.assertEqual(len(moved.tokens), BODY["max_tokens"])
        self.assertEqual(router.metric("facet_worker_up", worker=vanishing.address), 0)
        self.assertEqual(router.metric("facet_failovers_total", exact="true"), 1)
        self.assertLess(silence_s, NOTICED_WITHIN_S)

    def open_stream(self, router):
        stream = Stream(router)
        self.addCleanup(stream.connection.close)
        return stream


class Stream:
    """An answer that comes while it is read."""

    def __init__(self, router):
        self.text, self.tokens = "", []
        self.connection = http.client.HTTPConnection("127.0.0.1", router.port, 60)
        self.connection.request("POST", "/v1/chat/completions", json.dumps(BODY))
        self._response = self.connection.getresponse()
        assert self._response.status == 200, self._response.read()
        self.worker = self._response.headers["x-facet-worker"]

    def read(self):
        """Takes the next event in; False at the end."""
        for line in self._response:
            if line == b"data: [DONE]\n":
                return False
            if line.startswith(b"data: "):
                choice = json.loads(line[len("data: "):])["choices"][0]
                self.text += choice["delta"].get("content") or ""
                self.tokens += (choice["logprobs"] or {"content": []})["content"]
                return True
        raise AssertionError("the stream ended without [DONE]")
