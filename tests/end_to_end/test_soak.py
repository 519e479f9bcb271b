"""Random load with cancels and disconnects: every request ends, no page stays in use, and memory
stays flat. Half a minute here; `ops/soak` runs it for an hour."""
import json
import os
import sys
import time
import unittest

import cluster
import soak
from prompts import SEED
from worker_rpc import LoadWatch, WorkerClient

DURATION_S = float(os.environ.get("FACET_SOAK_S", "30"))
SOAK_SEED = int(os.environ.get("FACET_SOAK_SEED", SEED))
# In half a minute the allocator's arenas are still filling up.
GROWTH_MAX = 0.01 if DURATION_S >= 600 else 0.05
SAMPLE_INTERVAL_S = 0.5
REPORT_INTERVAL_S = 60
# So few pages that the prefix cache is full within the warm-up, and requests wait for pages.
# Host memory for cached prefixes is touched as it fills, which would look like growth.
WORKER_FLAGS = ("--kv_cache_mib=24", "--context_tokens_max=2048", "--host_tier_bytes=0")


class SoakTest(unittest.TestCase):
    def setUp(self):
        self.worker = cluster.Worker(*WORKER_FLAGS)
        self.addCleanup(self.worker.stop)
        self.router = cluster.Router([self.worker])
        self.addCleanup(self.router.stop)
        self.router.wait_ready()
        self.rpc = WorkerClient(self.worker)
        self.addCleanup(self.rpc.close)

    def report(self, load, sizes, now_s, next_report_s):
        """A progress line on stderr, and a JSON line on stdout once a minute."""
        line = {"elapsed_s": round(now_s), **load.counts, "failures": len(load.failures),
                **{f"{name}_resident_bytes": size for name, size in sizes.items()}}
        if sys.stderr.isatty():
            print(f"\r{json.dumps(line)}", end="", file=sys.stderr, flush=True)
        if now_s < next_report_s:
            return next_report_s
        print(json.dumps(line))
        return next_report_s + REPORT_INTERVAL_S

    def run_load(self):
        memory = soak.Memory([self.worker, self.router], DURATION_S)
        load = soak.Load(self.router, self.rpc, SOAK_SEED)
        begin = time.monotonic()
        next_report_s = REPORT_INTERVAL_S
        while (now_s := time.monotonic() - begin) < DURATION_S:
            next_report_s = self.report(load, memory.sample(now_s), now_s, next_report_s)
            if load.failed.wait(SAMPLE_INTERVAL_S):
                break
        load.stop()
        return load, memory

    def test_memory_is_flat_and_nothing_stays(self):
        print(f"seed {SOAK_SEED}, {DURATION_S:.0f} s")
        watch = LoadWatch(self.rpc)
        self.addCleanup(watch.close)
        load, memory = self.run_load()
        self.assertEqual(load.failures, [])
        watch.wait_free()
        cluster.wait_until(lambda: self.router.metric("facet_requests_running") == 0,
                           "no request to run at the router", 5)
        # Each request was counted once, whatever its end.
        self.assertEqual(self.router.metric("facet_requests_total", endpoint="completions"),
                         load.counts["http"])
        growth = memory.growth()
        print(json.dumps({"seed": SOAK_SEED, "duration_s": DURATION_S, **load.counts, **{
            name: {"after_warm_up_bytes": first, "end_bytes": last, "growth": round(share, 5)}
            for name, (first, last, share) in growth.items()}}))
        for name, (_, _, share) in growth.items():
            self.assertLess(share, GROWTH_MAX, name)
