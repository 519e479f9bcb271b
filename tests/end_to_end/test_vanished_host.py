"""A worker's host that vanishes without a word: its network ends, nothing is refused or reset.

The router and its client run in one network namespace, a worker in another, and the wire between
them is cut. Needs root and namespaces; else it is skipped.
"""
import ctypes
import http.client
import json
import os
import subprocess
import threading
import time
import unittest

import cluster

NOTICED_WITHIN_S = 5
# Of a private network that exists in these two namespaces alone.
ROUTER_HOST, WORKER_HOST = "10.93.7.1", "10.93.7.2"
BODY = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3000, "ignore_eos": True,
        "temperature": 0, "stream": True, "logprobs": True}
EVENTS_BEFORE_THE_CUT = 20
CLONE_NEWNET = 0x40000000


def enter(namespace):
    """This thread, and the children that it starts, use that namespace from now on."""
    with open(f"/run/netns/{namespace}", encoding="ascii") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class VanishedHostTest(unittest.TestCase):
    def setUp(self):
        self.near, self.far = (f"facet-{os.getpid()}-{side}" for side in ("near", "far"))
        try:
            ip("netns", "add", self.near)
        except (OSError, subprocess.CalledProcessError) as error:
            self.skipTest(f"no network namespaces here: {error}")
        self.addCleanup(ip, "netns", "del", self.near)
        ip("netns", "add", self.far)
        self.addCleanup(ip, "netns", "del", self.far)
        ip("-n", self.near, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns",
           self.far)
        for namespace, host in ((self.near, ROUTER_HOST), (self.far, WORKER_HOST)):
            ip("-n", namespace, "addr", "add", f"{host}/24", "dev", "wire")
            ip("-n", namespace, "link", "set", "wire", "up")
            ip("-n", namespace, "link", "set", "lo", "up")

    def test_its_streams_go_on_elsewhere(self):
        failures = []

        def guarded():
            try:
                self.check()
            except BaseException as error:  # The test's own thread raises it.
                failures.append(error)

        # A thread of its own, because a namespace is entered for good.
        thread = threading.Thread(target=guarded)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    def start_worker(self, host):
        worker = cluster.Worker(f"--host={host}")
        self.addCleanup(worker.stop)
        worker.address = f"{host}:{worker.port}"
        return worker

    def check(self):
        enter(self.far)
        vanishing = self.start_worker(WORKER_HOST)
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
        ip("-n", self.far, "link", "set", "wire", "down")
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
