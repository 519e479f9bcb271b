"""Pages of a shared prefix go from worker to worker: where its owner is busy, is killed, or hangs."""
import json
import os
import random
import signal
import unittest

import cluster
from cluster import wait_until
from prompts import SEED
from worker_rpc import LoadWatch, WorkerClient

PAGE_TOKENS = 64
PAGES = 20
PREFIX_TOKENS = PAGES * PAGE_TOKENS


def prompt(topic, tail=0, prefix_tokens=PREFIX_TOKENS):
    """A beginning that no other topic has, of whole pages, and a tail that no other number has."""
    words, own = random.Random(SEED + topic), random.Random(SEED - 1 - tail)
    return ([2] + words.choices(range(300, 1000), k=prefix_tokens - 1)
            + own.choices(range(300, 1000), k=30))


class PullTest(unittest.TestCase):
    def setUp(self):
        self.owner, self.other = cluster.Worker(), cluster.Worker()
        self.clients = {}
        for worker in (self.owner, self.other):
            self.addCleanup(self.end, worker)
            self.clients[worker] = WorkerClient(worker)
            self.addCleanup(self.clients[worker].close)

    def end(self, worker):
        if worker.exit_code is None:
            worker.kill()

    def start(self, worker, tokens, **fields):
        return self.clients[worker].generate(prompt_tokens=tokens, tokens_max=12, **fields)

    def finish(self, replies):
        """The answer's tokens and its ledger."""
        replies = list(replies)
        return [token for reply in replies for token in reply.tokens], replies[-1].ledger

    def pull(self, tokens):
        """Starts a request at the other worker that is told of the owner."""
        return self.start(self.other, tokens,
                          kv_source={"address": self.owner.address, "pages": PAGES})

    def fresh(self, tokens):
        """What the other worker answers where it knows nothing, and how long its prefill takes."""
        answer, ledger = self.finish(self.start(self.other, tokens, cache_salt=os.urandom(8)))
        self.assertEqual(ledger.cached_tokens, 0)
        return answer, ledger.prefill_us / 1e6

    # Given a prefix at another worker, expect it pulled, and the answer of computing.
    def test_pulls_a_prefix(self):
        answer, _ = self.finish(self.start(self.owner, prompt(1)))
        pulled, ledger = self.finish(self.pull(prompt(1)))
        self.assertEqual(pulled, answer)
        self.assertEqual(ledger.cached_tokens, PREFIX_TOKENS, ledger)
        self.assertEqual(ledger.cached_peer_tokens, PREFIX_TOKENS, ledger)
        computed, prefill_s = self.fresh(prompt(1))
        self.assertEqual(computed, answer)
        print(f"{PREFIX_TOKENS} tokens: pulled in {ledger.queue_us / 1000:.1f} ms, first token "
              f"{ledger.prefill_us / 1000:.1f} ms later; computed in {prefill_s * 1000:.1f} ms")

    def check_computes_without_owner(self, then):
        """Pulls from an owner that is stopped, does `then` with it when the other waits, and expects
        the answer of computing."""
        for topic in (2, 3):
            self.finish(self.start(self.owner, prompt(topic)))
        computed, prefill_s = self.fresh(prompt(3))
        _, ledger = self.finish(self.pull(prompt(2)))  # so that they are connected
        self.assertEqual(ledger.cached_tokens, PREFIX_TOKENS, ledger)
        watch = LoadWatch(self.clients[self.other])
        self.addCleanup(watch.close)
        os.kill(self.owner.pid, signal.SIGSTOP)
        replies = self.pull(prompt(3))
        watch.wait_for(lambda load: load.waiting_requests == 1, "one that waits")
        then()
        answer, ledger = self.finish(replies)
        self.assertEqual(answer, computed)
        self.assertEqual(ledger.cached_peer_tokens, 0, ledger)
        print(f"waited {ledger.queue_us / 1e6:.2f} s; computing alone takes {prefill_s:.2f} s")
        self.assertEqual(len(self.other.warnings(kind="late"))
                         + len(self.other.warnings(kind="unreachable")), 1)
        return ledger.queue_us / 1e6

    # Given an owner that hangs while pages are asked of it, expect computing after twice the time
    # that it takes, and no longer than keepalive needs.
    def test_owner_hangs(self):
        self.assertLess(self.check_computes_without_owner(lambda: None), 6)

    # Given one that is killed then, expect computing at once.
    def test_owner_is_killed(self):
        self.check_computes_without_owner(self.owner.kill)

    # Given prompts that keep the owner busy, expect the router to send the next question on its
    # topic to the other worker, to be pulled there; and then both to have it.
    def test_router_sends_it_to_the_idle_one(self):
        router = cluster.Router([self.owner, self.other])
        self.addCleanup(router.stop)
        router.wait_workers(2)
        tokens = prompt(4)

        def ask(tail, asked=router):
            status, headers, text = asked.request(
                "POST", "/v1/completions",
                json.dumps({"prompt": prompt(4, tail), "max_tokens": 8, "temperature": 0}))
            self.assertEqual(status, 200, text)
            answer = json.loads(text)
            cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            return headers, answer["choices"][0]["text"], cached

        headers, _, cached = ask(0)
        self.assertEqual(cached, 0)
        home = headers["x-facet-worker"]
        wait_until(lambda: router.get("/debug/workers")["cached_pages"] >= PAGES, "its pages")
        busy = self.owner if home == self.owner.address else self.other
        idle = self.other if busy is self.owner else self.owner
        # Much longer to compute than the topic, so that its owner stays busy.
        load = [self.clients[busy].generate(prompt_tokens=prompt(topic, prefix_tokens=3900),
                                            tokens_max=1) for topic in range(10, 26)]

        def waiting():
            workers = router.get("/debug/workers")["workers"]
            return next(worker["prefill_tokens_waiting"] for worker in workers
                        if worker["worker"] == home)

        wait_until(lambda: waiting() > 10 * len(tokens), "its owner to be busy")
        headers, text, cached = ask(1)
        self.assertEqual(headers["x-facet-worker"], idle.address, headers["x-facet-placement"])
        self.assertIn(f"pulled={PREFIX_TOKENS} from={home}", headers["x-facet-placement"])
        self.assertEqual(cached, PREFIX_TOKENS)
        self.assertEqual(router.metric("facet_cached_prompt_tokens_total", tier="peer"),
                         PREFIX_TOKENS)
        for call in load:
            call.cancel()
        owners = cluster.Router([busy])
        self.addCleanup(owners.stop)
        owners.wait_workers(1)
        self.assertEqual(ask(1, owners)[1], text)
