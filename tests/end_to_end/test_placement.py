"""Requests go where their prefix is: over a router and real workers with the nano model."""
import json
import unittest

import cluster
from cluster import Router, wait_until

PAGE_TOKENS = 64
# Some hundred tokens that begin as no other text here does.
STORY = 12 * "The {topic} had seven boxes, and in each box lay a smaller one. "


def chat(topic, question):
    return {"messages": [{"role": "system", "content": STORY.format(topic=topic)},
                         {"role": "user", "content": question}],
            "temperature": 0, "max_tokens": 4}


class PlacementTest(unittest.TestCase):
    def setUp(self):
        self.servers = cluster.Cluster(worker_count=3)
        self.addCleanup(self.servers.stop)
        self.router = self.servers.router

    def ask(self, router, topic, question):
        """Where it was answered, and how many tokens of the prompt were cached and how many not."""
        status, headers, text = router.request("POST", "/v1/chat/completions",
                                               json.dumps(chat(topic, question)))
        self.assertEqual(status, 200, text)
        usage = json.loads(text)["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        return headers["x-facet-worker"], cached, usage["prompt_tokens"] - cached

    def pages(self, router):
        return router.get("/debug/workers")["cached_pages"]

    def wait_pages(self, router, count):
        """Workers tell what they have a moment after an answer."""
        wait_until(lambda: self.pages(router) >= count, f"{count} cached pages to be known")

    # Given topics of several pages each, expect all questions on one where the first was answered,
    # with nothing but the tail to compute; from a second router too, which heard of the pages when
    # it began.
    def test_questions_go_where_their_topic_is(self):
        homes, known = {}, 0
        for topic in ("farmer", "queen", "tailor", "miner", "sailor", "baker"):
            homes[topic], cached, computed = self.ask(self.router, topic, "How are you?")
            self.assertEqual(cached, 0)
            known += computed // PAGE_TOKENS
            self.wait_pages(self.router, known)
        second = Router(self.servers.workers)
        self.addCleanup(second.stop)
        second.wait_workers(3)
        self.wait_pages(second, known)
        for router in (self.router, second):
            for topic, home in homes.items():
                for question in ("Who are you?", "What is the capital of Italy?"):
                    worker, cached, computed = self.ask(router, topic, question)
                    self.assertEqual(worker, home, topic)
                    self.assertGreaterEqual(cached, 4 * PAGE_TOKENS)
                    self.assertLess(computed, 2 * PAGE_TOKENS)

    # Given a worker that dies, expect its topics elsewhere, computed once there and not again.
    def test_topics_move_when_their_worker_dies(self):
        home, _, computed = self.ask(self.router, "smith", "How are you?")
        self.wait_pages(self.router, computed // PAGE_TOKENS)
        dead = next(worker for worker in self.servers.workers if worker.address == home)
        dead.kill()
        wait_until(lambda: self.pages(self.router) == 0, "the dead worker's pages to be forgotten")
        new_home, cached, computed = self.ask(self.router, "smith", "Who are you?")
        self.assertNotEqual(new_home, home)
        self.assertEqual(cached, 0)
        self.wait_pages(self.router, computed // PAGE_TOKENS)
        worker, cached, _ = self.ask(self.router, "smith", "Spell zebra")
        self.assertEqual(worker, new_home)
        self.assertGreaterEqual(cached, 4 * PAGE_TOKENS)

    # Given a question, expect /debug/placement to foretell where it goes and what is cached there.
    def test_debug_endpoint_foretells(self):
        home, _, computed = self.ask(self.router, "judge", "How are you?")
        # All but the last token of a prompt may come from a cache, as far as they fill pages.
        whole = (computed - 1) // PAGE_TOKENS * PAGE_TOKENS
        wait_until(lambda: self.foretold("How are you?", home)[1]["cached_tokens"] == whole,
                   f"{whole} cached tokens to be known")
        chosen, told = self.foretold("Who are you?", home)
        self.assertEqual(chosen, home)
        worker, cached, computed = self.ask(self.router, "judge", "Who are you?")
        self.assertEqual((worker, cached, computed),
                         (home, told["cached_tokens"], told["computed_tokens"]))

    def foretold(self, question, address):
        """The worker that the router would choose, and what it says of the one at `address`."""
        told = self.router.post("/debug/placement", chat("judge", question))
        entry = next(worker for worker in told["workers"] if worker["worker"] == address)
        return told["chosen"], entry
