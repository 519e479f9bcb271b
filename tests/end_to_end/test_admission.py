"""Tenants and the queue over real processes: keys, limits, a flood beside others, workers that go."""
import concurrent.futures
import contextlib
import hashlib
import json
import os
import random
import statistics
import tempfile
import threading
import time
import unittest

import cluster
from cluster import FakeWorker, Router, wait_until

TOKEN_MS = 10
ROWS = 8


def entry(name, **fields):
    """A tenant whose key is `sk-NAME`."""
    return {"name": name, "keys": [hashlib.sha256(f"sk-{name}".encode()).hexdigest()], **fields}


def chat(words, max_tokens=20, **fields):
    return json.dumps({"messages": [{"role": "user", "content": words}], "max_tokens": max_tokens,
                       **fields})


def headers_of(name):
    return {"Authorization": f"Bearer sk-{name}"}


class AdmissionTest(unittest.TestCase):
    def start(self, tenants, *router_flags, workers=1):
        """Workers of a fixed speed, and a router that knows these tenants."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = os.path.join(folder.name, "tenants.json")
        self.write(tenants)
        self.servers = cluster.Cluster(
            workers, [f"--token_ms={TOKEN_MS}", f"--running_requests_max={ROWS}"],
            [f"--tenants={self.file}", *router_flags], FakeWorker)
        self.addCleanup(self.servers.stop)
        self.router = self.servers.router

    def write(self, tenants):
        with open(self.file + ".next", "w", encoding="utf-8") as file:
            json.dump({"tenants": tenants}, file)
        os.replace(self.file + ".next", self.file)

    def ask(self, name, words="Hi", **fields):
        return self.router.request("POST", "/v1/chat/completions", chat(words, **fields),
                                   headers_of(name))

    def first_token_s(self, name, words):
        """Streams one answer to its end; seconds until its first event."""
        with self.router.connect() as connection:
            began = time.monotonic()
            connection.request("POST", "/v1/chat/completions", chat(words, stream=True),
                               headers_of(name))
            response = connection.getresponse()
            self.assertEqual(response.status, 200, response.msg)
            response.readline()
            first = time.monotonic() - began
            response.read()
            return first

    def waiting(self, name):
        return self.router.metric("facet_requests_waiting", tenant=name) or 0

    def queued(self):
        _, _, text = self.router.request("GET", "/debug/queue", headers=headers_of("a"))
        return json.loads(text)["waiting_answers"]

    @contextlib.contextmanager
    def flood(self, name, clients):
        """So many clients of one tenant that ask again as soon as they are answered."""
        over = threading.Event()
        statuses = []

        def client(number):
            # Of many lengths, or all rows would end in the same step again and again.
            lengths = random.Random(number)
            while not over.is_set():
                statuses.append(self.ask(name, f"flood {number} {len(statuses)}",
                                         max_tokens=lengths.randint(20, 60))[0])

        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            futures = [pool.submit(client, number) for number in range(clients)]
            try:
                yield statuses
            finally:
                over.set()
                for future in futures:
                    future.result()

    # Given no key, a wrong one and a good one, expect 401 in each API's form and an answer; given
    # another file, expect its keys; given a bad one, expect the last good one and a log line.
    def test_keys(self):
        self.start([entry("a")])
        for path, kind in (("/v1/chat/completions", None), ("/v1/messages", "error")):
            for headers in ({}, {"Authorization": "Bearer no"}, {"x-api-key": "no"}):
                status, answer_headers, text = self.router.request("POST", path, chat("Hi"), headers)
                self.assertEqual(status, 401, text)
                self.assertEqual(answer_headers["WWW-Authenticate"], "Bearer")
                self.assertEqual(json.loads(text)["error"]["type"], "authentication_error")
                self.assertEqual(json.loads(text).get("type"), kind)
        self.assertEqual(self.ask("a")[0], 200)
        self.write([entry("b")])
        wait_until(lambda: self.ask("b")[0] == 200, "the new key to be known")
        self.assertEqual(self.ask("a")[0], 401)
        self.write([entry("c") | {"weigth": 2}])
        wait_until(lambda: self.router.warnings(message="tenants not read; those of before stay"),
                   "the bad file to be logged")
        self.assertIn("tenants[0].weigth", self.router.stderr())
        self.assertEqual(self.ask("b")[0], 200)
        self.assertNotIn("sk-", self.router.stderr())

    # Given a bad file at the start, expect the router to say where it is bad, and to end.
    def test_bad_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"tenants": [entry("a", requests_per_minute=0)]}, file)
            file.flush()

            class Nobody:
                address = "127.0.0.1:1"

            with self.assertRaises(cluster.StartFailure) as raised:
                Router([Nobody], f"--tenants={file.name}")
            self.assertIn("tenants[0].requests_per_minute", str(raised.exception))

    # Given a limit of requests, expect headers that count down, then 429 with the time to wait.
    def test_limits(self):
        self.start([entry("a", requests_per_minute=3)])
        for left in (2, 1, 0):
            status, headers, _ = self.ask("a")
            self.assertEqual((status, headers["x-ratelimit-remaining-requests"]), (200, str(left)))
        status, headers, text = self.ask("a")
        self.assertEqual(status, 429, text)
        self.assertTrue(15 <= int(headers["Retry-After"]) <= 20, headers["Retry-After"])
        self.assertEqual(json.loads(text)["error"]["code"], "requests_per_minute")

    # Given a tenant that floods, ten times what the worker's rows take, expect another's requests
    # to take the place of some of its, and the first tokens to come about as soon as alone.
    def test_a_flood_leaves_others_unhurt(self):
        self.start([entry("flood"), entry("other")])
        alone = [self.first_token_s("other", f"alone {i}") for i in range(20)]
        with self.flood("flood", 10 * ROWS) as statuses:
            wait_until(lambda: self.waiting("flood") >= 4 * ROWS, "the flood to fill the queue")
            beside = [self.first_token_s("other", f"beside {i}") for i in range(20)]
            flood_wait = self.router.metric("facet_admission_wait_seconds_sum", tenant="flood")
            flood_count = self.router.metric("facet_admission_wait_seconds_count", tenant="flood")
        self.assertEqual(set(statuses), {200})
        p90 = [statistics.quantiles(times, n=10)[-1] for times in (alone, beside)]
        print(f"first token, p90: alone {p90[0] * 1e3:.0f} ms, beside a flood {p90[1] * 1e3:.0f} ms;"
              f" the flood's own requests wait {flood_wait / flood_count * 1e3:.0f} ms on average")
        # Eighty clients of one Python process are slow to look at what came.
        self.assertLess(p90[1], flood_wait / flood_count / 20)

    # Given a queue with a time limit that it cannot keep, expect 503 with Retry-After and the
    # reason for some, answers for the others, and nothing lost.
    def test_deadlines_shed_early(self):
        self.start([entry("a")], "--queue_wait_ms=500")
        with concurrent.futures.ThreadPoolExecutor(12 * ROWS) as pool:
            answers = [pool.submit(self.ask, "a", f"words {i}", max_tokens=40)
                       for i in range(12 * ROWS)]
            answers = [answer.result() for answer in answers]
        statuses = [status for status, _, _ in answers]
        print(f"of {len(statuses)} requests {statuses.count(200)} were answered")
        self.assertEqual(set(statuses), {200, 503})
        self.assertGreaterEqual(statuses.count(200), ROWS)
        for status, headers, text in answers:
            if status == 503:
                self.assertGreaterEqual(int(headers["Retry-After"]), 1)
                self.assertEqual(json.loads(text)["error"]["code"], "deadline")
        self.assertEqual(self.router.metric("facet_shed_requests_total", reason="deadline"),
                         statuses.count(503))
        self.assertEqual(self.waiting("a"), 0)

    # Given clients that vanish while they wait, expect the queue to forget them.
    def test_clients_that_vanish(self):
        self.start([entry("a")])
        with self.flood("a", ROWS + 4):
            with contextlib.ExitStack() as connections:
                for _ in range(20):
                    connection = connections.enter_context(self.router.connect())
                    connection.request("POST", "/v1/chat/completions", chat("Hi", max_tokens=2000),
                                       headers_of("a"))
                wait_until(lambda: self.waiting("a") >= 5, "requests to wait")
            wait_until(lambda: self.router.metric("facet_requests_total", outcome="cancelled") == 20,
                       "all that left to be counted")
        wait_until(lambda: self.router.metric("facet_requests_running") == 0, "nothing to run")
        self.assertEqual(self.queued(), 0)

    # Given all workers gone for a while, expect requests to wait, and answers when one is back.
    def test_all_workers_gone_and_back(self):
        self.start([entry("a")], workers=2)
        self.assertEqual(self.ask("a")[0], 200)
        first = self.servers.workers[0]
        port = first.address.rsplit(":", 1)[1]
        for worker in self.servers.workers:
            worker.kill()
        wait_until(lambda: self.router.metric("facet_worker_up") == 0, "both to be gone")
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            answers = [pool.submit(self.ask, "a", f"words {i}") for i in range(10)]
            wait_until(lambda: self.waiting("a") == 10, "all to wait")
            back = FakeWorker(f"--port={port}", f"--token_ms={TOKEN_MS}",
                              f"--running_requests_max={ROWS}")
            self.servers.workers.append(back)
            self.assertEqual({answer.result()[0] for answer in answers}, {200})
