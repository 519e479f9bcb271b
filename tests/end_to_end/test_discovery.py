"""Workers that make themselves known to a router, and routers and workers that die meanwhile."""
import contextlib
import unittest

import cluster
from cluster import Router, StartFailure, Worker, wait_until

QUESTION = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 8}


def ask(router):
    return router.post("/v1/chat/completions", QUESTION)["choices"][0]["message"]["content"]


class RegistrationTest(unittest.TestCase):
    def start_router(self, grpc_port=0):
        router = Router([], "--accept_workers", f"--grpc_port={grpc_port}")
        self.addCleanup(lambda: router.exit_code is None and router.stop())
        return router

    def start_worker(self, router):
        worker = Worker(f"--router=127.0.0.1:{router.grpc_port}")
        self.addCleanup(lambda: worker.exit_code is None and worker.stop())
        return worker

    def test_workers_register_again_and_are_forgotten(self):
        """Given a router that is killed, expect its workers at the next one on its port; given a
        worker that is killed, and one that ends in good order, expect each to be forgotten."""
        router = self.start_router()
        workers = [self.start_worker(router) for _ in range(2)]
        router.wait_workers(2)
        expected = ask(router)
        known = router.get("/debug/workers")["workers"]
        self.assertEqual({entry["worker"] for entry in known}, {w.address for w in workers})
        self.assertEqual([entry["known_from"] for entry in known], [["registered"]] * 2)

        router.kill()

        def start_again():
            with contextlib.suppress(StartFailure):
                return self.start_router(router.grpc_port)
            return None
        again = wait_until(start_again, "the port to be free")
        again.wait_workers(2)
        self.assertEqual(ask(again), expected)

        workers[0].kill()
        self.assertEqual({ask(again) for _ in range(10)}, {expected})
        wait_until(lambda: len(again.get("/debug/workers")["workers"]) == 1, "it to be forgotten")
        workers[1].stop()
        wait_until(lambda: again.get("/debug/workers")["workers"] == [], "it to be forgotten")
        wait_until(lambda: again.metric("facet_worker_up") is None, "its series to end")


class NameTest(unittest.TestCase):
    def test_localhost(self):
        """Given a name instead of addresses, expect the worker behind it."""
        servers = cluster.Cluster(worker_count=1, make_worker=Named)
        self.addCleanup(servers.stop)
        self.assertIn("dns", servers.router.get("/debug/workers")["workers"][0]["known_from"])
        self.assertTrue(ask(servers.router))


class Named(Worker):
    """A worker that routers know by a name. 127.0.0.1 may not be its only address."""

    def __init__(self, *flags):
        super().__init__(*flags)
        self.address = f"dns:///localhost:{self.port}"

