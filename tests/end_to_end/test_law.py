"""The law of serving: a request has the same tokens alone and among others, whatever happens."""
import concurrent.futures
import json
import os
import random
import time
import unittest

import cluster
from prompts import SEED, chat_bodies
from worker_rpc import WorkerClient

COUNT = 32


class GenerateTest(unittest.TestCase):
    """`facet generate`: a line alone, and among 31 others."""

    def generate(self, bodies, threads):
        return cluster.json_lines(cluster.run_facet(
            "generate", f"--model={cluster.model_path}", f"--threads={threads}", lines=bodies))

    def test_alone_and_together(self):
        bodies = chat_bodies(COUNT, max_tokens=60)
        alone = [self.generate([body], threads=1)[0] for body in bodies]
        self.assertGreater(len({tuple(answer["tokens"]) for answer in alone}), COUNT // 2)
        self.assertEqual(self.generate(bodies, threads=1), alone)
        self.assertEqual(self.generate(bodies[::-1], threads=2), alone[::-1])


class EndpointTest(unittest.TestCase):
    """/v1/chat/completions: a request alone, and among 31 others on two workers."""

    def setUp(self):
        self.servers = cluster.Cluster()
        self.addCleanup(self.servers.stop)

    def ask(self, body):
        """Text, reason, and every log probability to its last bit."""
        choice, = self.servers.router.post("/v1/chat/completions", body | {"logprobs": True})[
            "choices"]
        return choice["message"]["content"], choice["finish_reason"], choice["logprobs"]

    def test_alone_and_together(self):
        bodies = chat_bodies(COUNT, max_tokens=60)
        alone = [self.ask(body) for body in bodies]
        with concurrent.futures.ThreadPoolExecutor(COUNT) as pool:
            together = list(pool.map(self.ask, bodies))
        for body, one, other in zip(bodies, alone, together):
            self.assertEqual(one, other, body)


class PressureTest(unittest.TestCase):
    """A worker whose pages hold a few of the requests only, so that it must preempt."""

    WORKER_FLAGS = ("--kv_cache_mib=3", "--context_tokens_max=512", "--step_tokens_max=64")

    def setUp(self):
        # Random weights: the least difference of a sum would soon show in the tokens.
        self.model = os.path.join(cluster.checkout, "tests/testdata/golden/model.gguf")
        self.worker = cluster.Worker(*self.WORKER_FLAGS, model=self.model)
        self.addCleanup(self.worker.stop)
        numbers = random.Random(SEED)
        print(f"seed {SEED}")
        self.requests = [{
            "prompt_tokens": [2] + numbers.choices(range(600, 2000), k=numbers.randint(3, 150)),
            "tokens_max": numbers.randint(50, 110),
            "sampling": {"temperature": 0 if i % 3 == 0 else 1, "seed": SEED + i,
                         "top_k": 50 if i % 3 == 1 else 0},
        } for i in range(COUNT)]

    def test_alone_and_together_at_the_worker(self):
        client = WorkerClient(self.worker)
        self.addCleanup(client.close)

        def generate(request):
            replies = list(client.generate(**request))
            return [token for reply in replies for token in reply.tokens], replies[-1].ledger

        alone = [generate(request) for request in self.requests]
        self.assertEqual(sum(ledger.preemptions for _, ledger in alone), 0)
        begin = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(COUNT) as pool:
            together = list(pool.map(generate, self.requests))
        preempted = sum(ledger.preemptions > 0 for _, ledger in together)
        print(f"under pressure: {preempted} of {COUNT} requests preempted, "
              f"{sum(ledger.preemptions for _, ledger in together)} times in all, "
              f"{time.monotonic() - begin:.1f} s")
        self.assertGreater(preempted, 0)
        for request, (one, _), (other, _) in zip(self.requests, alone, together):
            self.assertEqual(len(one), request["tokens_max"])
            self.assertEqual(one, other)

    def test_alone_and_together_at_the_endpoint(self):
        router = cluster.Router([self.worker])
        self.addCleanup(router.stop)
        router.wait_ready()

        def complete(request):
            choice, = router.post("/v1/completions", {
                "prompt": request["prompt_tokens"], "max_tokens": request["tokens_max"],
                "logprobs": 0, "ignore_eos": True, **request["sampling"]})["choices"]
            return choice

        alone = [complete(request) for request in self.requests]
        with concurrent.futures.ThreadPoolExecutor(COUNT) as pool:
            together = list(pool.map(complete, self.requests))
        self.assertEqual([json.dumps(one) for one in alone], [json.dumps(one) for one in together])
        self.assertEqual(router.metric("facet_requests_running"), 0)
