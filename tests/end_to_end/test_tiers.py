"""A long prefix that two requests share is computed once: while the device has it, from host memory,
from disk, and after the worker was started again."""
import os
import random
import tempfile
import unittest

import cluster
from prompts import SEED
from worker_rpc import WorkerClient

PAGE_TOKENS = 64
SHARED_TOKENS = 61 * PAGE_TOKENS
TAIL_TOKENS = 60
# Room for a little more than one of the prompts on the device, and in host memory where it is small.
SMALL = ("--kv_cache_mib=16", "--running_requests_max=2")
SMALL_HOST = f"--host_tier_bytes={16 << 20}"


def prompt(tail, shared=SHARED_TOKENS, tail_tokens=TAIL_TOKENS):
    """The shared beginning, and a tail that no other number has."""
    words, own = random.Random(SEED), random.Random(SEED + 1 + tail)
    return ([2] + words.choices(range(300, 1000), k=shared - 1)
            + own.choices(range(300, 1000), k=tail_tokens))


class TiersTest(unittest.TestCase):
    fresh_answers = {}  # by prompt

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="facet-tiers-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.worker = self.client = None
        self.addCleanup(self.end, "stop")

    def start(self, *flags):
        self.worker = cluster.Worker(*SMALL, *flags)
        self.client = WorkerClient(self.worker)

    def end(self, how):
        if self.worker is None:
            return
        self.client.close()
        getattr(self.worker, how)()
        self.worker = None

    def ask(self, tokens, salt=b""):
        """The answer's tokens and its ledger."""
        replies = list(self.client.generate(prompt_tokens=tokens, tokens_max=8, cache_salt=salt))
        return [token for reply in replies for token in reply.tokens], replies[-1].ledger

    def push_out(self, times):
        """Fills the device, and small host memory, with what nobody asks for again."""
        for i in range(times):
            self.ask(prompt(0), salt=f"other {os.urandom(8).hex()} {i}".encode())

    def fresh(self, tokens):
        """What a worker answers that never saw the prefix."""
        if tuple(tokens) not in self.fresh_answers:
            answer, ledger = self.ask(tokens, salt=os.urandom(8))
            self.assertEqual(ledger.cached_tokens, 0)
            self.fresh_answers[tuple(tokens)] = answer
        return self.fresh_answers[tuple(tokens)]

    def assert_cached(self, tokens, tier, shared=SHARED_TOKENS):
        """The prefix comes from this tier, its tail alone is computed, and the answer is the same."""
        answer, ledger = self.ask(tokens)
        self.assertEqual(ledger.cached_tokens, shared, ledger)
        self.assertEqual(getattr(ledger, f"cached_{tier}_tokens"), shared, ledger)
        print(f"{len(tokens)} tokens, {shared} from {tier}: prefill {ledger.prefill_us / 1000:.1f} "
              f"ms, queue {ledger.queue_us / 1000:.1f} ms")
        self.assertEqual(answer, self.fresh(tokens))

    def pages_on_disk(self, pool):
        return sum(name.startswith(pool) and name.endswith(".page")
                   for _, _, names in os.walk(self.folder) for name in names)

    def test_device_and_host_memory(self):
        self.start()
        self.ask(prompt(0))
        self.assert_cached(prompt(1), "device")
        self.push_out(9)  # What was asked for twice stays for two turnovers longer.
        self.assert_cached(prompt(1), "host")
        self.ask(prompt(1))
        self.assert_cached(prompt(2), "device")

    def test_disk_and_restarts(self):
        disk = f"--disk_tier_dir={self.folder}"
        self.start(SMALL_HOST, disk)
        self.ask(prompt(0))
        self.push_out(4)
        self.assert_cached(prompt(1), "disk")
        self.end("stop")
        self.start(SMALL_HOST, disk)
        self.assert_cached(prompt(1), "disk")
        self.end("kill")
        self.start(SMALL_HOST, disk)
        self.assert_cached(prompt(2), "disk")

    def test_kill_loses_only_what_was_queued(self):
        disk = f"--disk_tier_dir={self.folder}"
        self.start(disk)
        self.ask(prompt(0))
        # The prompt's pages with one of the answer; of sliding layers two windows and what is before.
        cluster.wait_until(lambda: self.pages_on_disk("full") >= 62
                           and self.pages_on_disk("sliding") >= 13, "the pages to be on disk")
        self.end("kill")
        self.start(disk)
        self.assert_cached(prompt(1), "disk")

    def test_tails_of_some_length(self):
        """Given tails of 200 tokens, expect the prefix from disk though the prompts ended later."""
        disk, shared = f"--disk_tier_dir={self.folder}", 59 * PAGE_TOKENS
        self.start(disk)
        self.ask(prompt(0, shared, 200))
        self.end("stop")
        self.start(disk)
        self.assert_cached(prompt(1, shared, 200), "disk", shared)

    def test_broken_files(self):
        """Given a flipped bit in each file of a disk tier, expect the right answers all the same."""
        disk = f"--disk_tier_dir={self.folder}"
        self.start(disk)
        self.ask(prompt(0))
        self.end("stop")
        for place, _, names in os.walk(self.folder):
            for name in names:
                with open(os.path.join(place, name), "r+b") as file:
                    file.seek(1000)
                    byte = file.read(1)[0]
                    file.seek(1000)
                    file.write(bytes([byte ^ 4]))
        self.start(disk)
        answer, ledger = self.ask(prompt(1))
        self.assertEqual(ledger.cached_tokens, 0)
        self.assertEqual(answer, self.fresh(prompt(1)))
        self.assertEqual(len(self.worker.warnings(kind="corrupt")), 1)

    def test_usage_at_the_endpoint(self):
        disk = f"--disk_tier_dir={self.folder}"
        self.start(disk)
        self.ask(prompt(0))
        self.end("stop")
        self.start(disk)
        router = cluster.Router([self.worker])
        self.addCleanup(router.stop)
        router.wait_ready()
        usage = router.post("/v1/completions", {"prompt": prompt(1), "max_tokens": 4})["usage"]
        self.assertEqual(usage["prompt_tokens"], SHARED_TOKENS + TAIL_TOKENS)
        self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], SHARED_TOKENS)
