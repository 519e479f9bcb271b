"""/metrics of routers and workers: every family that dashboards rest on, and no more series for
whatever clients say."""
import contextlib
import http.client
import json
import os
import random
import re
import socket
import statistics
import time
import unittest

import cluster

# What dashboards, alerts and autoscalers of others may rest on, with the labels of each.
ROUTER_FAMILIES = {
    "facet_requests_total": {"endpoint", "outcome"},
    "facet_requests_running": set(),
    "facet_requests_waiting": {"tenant"},
    "facet_time_to_first_token_seconds": {"le"},
    "facet_inter_token_latency_seconds": {"le"},
    "facet_request_duration_seconds": {"le"},
    "facet_queue_wait_seconds": {"le"},
    "facet_prompt_tokens_total": set(),
    "facet_cached_prompt_tokens_total": {"tier"},
    "facet_generated_tokens_total": set(),
    "facet_failovers_total": {"reason", "exact"},
    "facet_shed_requests_total": {"reason"},
    "facet_worker_up": {"worker"},
    "facet_replicas_wanted": set(),
    "facet_build_info": {"version", "process"},
}
WORKER_FAMILIES = {
    "facet_kv_pages": {"pool", "state"},
    "facet_kv_usage_ratio": set(),
    "facet_drafted_tokens_total": set(),
    "facet_accepted_draft_tokens_total": set(),
    "facet_build_info": {"version", "process"},
}
MODEL = {"model_name"}
VLLM_FAMILIES = {
    "vllm:num_requests_running": MODEL,
    "vllm:num_requests_waiting": MODEL,
    "vllm:kv_cache_usage_perc": MODEL,
    "vllm:prefix_cache_queries_total": MODEL,
    "vllm:prefix_cache_hits_total": MODEL,
    "vllm:prompt_tokens_total": MODEL,
    "vllm:generation_tokens_total": MODEL,
    "vllm:num_preemptions_total": MODEL,
    "vllm:request_success_total": MODEL | {"finished_reason"},
    "vllm:time_to_first_token_seconds": MODEL | {"le"},
    "vllm:inter_token_latency_seconds": MODEL | {"le"},
    "vllm:e2e_request_latency_seconds": MODEL | {"le"},
    "vllm:request_queue_time_seconds": MODEL | {"le"},
    "vllm:request_prefill_time_seconds": MODEL | {"le"},
    "vllm:request_decode_time_seconds": MODEL | {"le"},
    "vllm:spec_decode_num_draft_tokens_total": MODEL,
    "vllm:spec_decode_num_accepted_tokens_total": MODEL,
    "vllm:cache_config_info": MODEL | {"block_size", "num_gpu_blocks", "cache_dtype",
                                       "enable_prefix_caching"},
    "vllm:lora_requests_info": MODEL | {"max_lora", "running_lora_adapters",
                                        "waiting_lora_adapters"},
}
PROCESS_FAMILIES = {name: set() for name in (
    "process_cpu_seconds_total", "process_start_time_seconds", "process_resident_memory_bytes",
    "process_virtual_memory_bytes", "process_threads", "process_open_fds", "process_max_fds")}

# Names, keys, tenants and agents that clients try.
TRIES = int(os.environ.get("FACET_LABEL_TRIES", "20000"))
SEED = int(os.environ.get("FACET_SEED", "20261122"))
CHAT = {"messages": [{"role": "user", "content": "What is 17 + 25?"}], "max_tokens": 8}


def scrape(port):
    """The text of a /metrics page."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, 30)) as connection:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200, response.status
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return response.read().decode()


def series(text):
    """Of each name: the label sets of its series, and the value of each."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"([\w:]+)(?:\{(.*)\})? (\S+)", line)
        assert match, line
        labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
        found.setdefault(match[1], []).append((labels, float(match[3])))
    return found


def value(text, name, **labels):
    return sum(number for has, number in series(text).get(name, ())
               if labels.items() <= has.items())


class FamiliesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.servers = cluster.Cluster(worker_count=1, worker_flags=["--vllm_metric_names"])
        cls.addClassCleanup(cls.servers.stop)
        cls.router, cls.worker = cls.servers.router, cls.servers.workers[0]
        for _ in range(3):
            cls.router.post("/v1/chat/completions", CHAT)

    def assert_families(self, text, families):
        found = series(text)
        helped = set(re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE))
        for family, labels in families.items():
            with self.subTest(family):
                self.assertIn(family, helped)
                name = family + "_bucket" if "le" in labels else family
                for has, _ in found[name]:
                    self.assertEqual(set(has), labels)

    # Given a cluster that answered requests, expect each family, with its help and labels.
    def test_router(self):
        self.assert_families(scrape(self.router.port), ROUTER_FAMILIES | PROCESS_FAMILIES)

    def test_worker(self):
        self.assert_families(scrape(self.worker.metrics_port), WORKER_FAMILIES | PROCESS_FAMILIES)

    def test_vllm_names(self):
        text = scrape(self.worker.metrics_port)
        self.assert_families(text, VLLM_FAMILIES)
        names = {has["model_name"] for name, entries in series(text).items()
                 if name.startswith("vllm:") for has, _ in entries}
        self.assertEqual(names, {self.router.get("/v1/models")["data"][0]["id"]})

    # Given no flag, expect no name of vLLM's.
    def test_vllm_names_are_asked_for(self):
        worker = cluster.Worker()
        self.addCleanup(worker.stop)
        self.assertNotIn("vllm:", scrape(worker.metrics_port))

    # Given requests, expect that router and worker counted the same tokens.
    def test_router_and_worker_agree(self):
        def counts():
            router, worker = scrape(self.router.port), scrape(self.worker.metrics_port)
            return [value(router, "facet_prompt_tokens_total"),
                    value(worker, "facet_engine_prompt_tokens_total"),
                    value(worker, "vllm:prompt_tokens_total"),
                    value(router, "facet_cached_prompt_tokens_total"),
                    value(worker, "facet_engine_prompt_tokens_total", cached="true"),
                    value(worker, "vllm:prefix_cache_hits_total"),
                    value(router, "facet_generated_tokens_total"),
                    value(worker, "facet_engine_generated_tokens_total"),
                    value(worker, "vllm:generation_tokens_total")]

        before = counts()
        usage = [self.router.post("/v1/chat/completions", CHAT | {"max_tokens": tokens})["usage"]
                 for tokens in (1, 5, 9)]
        change = [now - then for now, then in zip(counts(), before)]
        prompt = sum(each["prompt_tokens"] for each in usage)
        cached = sum(each["prompt_tokens_details"]["cached_tokens"] for each in usage)
        generated = sum(each["completion_tokens"] for each in usage)
        self.assertEqual(change[:6], [prompt] * 3 + [cached] * 3)
        # A stop token is the worker's, not the client's.
        self.assertEqual(change[6], generated)
        self.assertEqual(change[7], change[8])
        self.assertIn(change[7] - generated, range(len(usage) + 1))

    # Given an answer that runs, expect pages in use and part of a worker wanted; after it, no page.
    def test_gauges_follow_load(self):
        def used():
            text = scrape(self.worker.metrics_port)
            return [value(text, "facet_kv_pages", pool=pool, state="used")
                    for pool in ("full", "sliding")] + [value(text, "facet_kv_usage_ratio")]

        cluster.wait_until(lambda: used() == [0, 0, 0], "pages to be free")
        with self.router.connect() as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps(
                CHAT | {"stream": True, "max_tokens": 2000, "ignore_eos": True}))
            self.assertTrue(connection.getresponse().readline())
            self.assertTrue(all(number > 0 for number in used()), used())
            router = scrape(self.router.port)
            self.assertEqual(value(router, "facet_requests_running"), 1)
            self.assertGreater(value(router, "facet_replicas_wanted"), 0)
            self.assertEqual(
                value(scrape(self.worker.metrics_port), "vllm:num_requests_running"), 1)
        cluster.wait_until(lambda: used() == [0, 0, 0], "pages to be free")

    # Given a scraper that asks ten times a second and more, expect each answer soon.
    def test_many_scrapes(self):
        for port in (self.router.port, self.worker.metrics_port):
            took = []
            for _ in range(100):
                began = time.monotonic()
                scrape(port)
                took.append(time.monotonic() - began)
            print(f"a scrape: median {1e3 * statistics.median(took):.1f} ms, "
                  f"slowest {1e3 * max(took):.1f} ms, {len(scrape(port))} B")
            self.assertLess(statistics.median(took), 0.1)


class BoundedLabelsTest(unittest.TestCase):
    """Whatever clients say, /metrics has the same series after it."""

    def setUp(self):
        self.servers = cluster.Cluster(1, make_worker=cluster.FakeWorker)
        self.addCleanup(self.servers.stop)
        self.router = self.servers.router

    def send_pipelined(self, requests):
        """Many requests on one connection; gives back how many answers came."""
        answers = 0
        with socket.create_connection(("127.0.0.1", self.router.port), 60) as connection:
            stream = connection.makefile("rb")
            for i in range(0, len(requests), 50):
                batch = requests[i:i + 50]
                connection.sendall(b"".join(batch))
                for _ in batch:
                    length = None
                    line = stream.readline()
                    self.assertTrue(line.startswith(b"HTTP/1.1 "), line)
                    while line not in (b"\r\n", b""):
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split(b":")[1])
                        line = stream.readline()
                    stream.read(length)
                    answers += 1
        return answers

    def request(self, number, draw):
        word = f"{draw.getrandbits(64):016x}-{number}"
        body = {"model": word, "user": word, "messages": [{"role": "user", "content": "Hi"}],
                "max_tokens": 1}
        # Half of them name the model that is there, so that they are answered.
        if number % 2:
            del body["model"]
        text = json.dumps(body)
        path = draw.choice(("/v1/chat/completions", "/v1/completions", "/v1/messages",
                            "/v1/responses", f"/v1/{word}"))
        return (f"POST {path} HTTP/1.1\r\nHost: {word}\r\nUser-Agent: {word}\r\n"
                f"Authorization: Bearer {word}\r\nX-Request-Id: {word}\r\nX-Tenant: {word}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}"
                ).encode()

    # Given thousands of different model names, keys, agents, users, hosts and paths, expect not one
    # series more than after the first hundred.
    def test_clients_make_no_series(self):
        print(f"seed {SEED}, {TRIES} tries")
        draw = random.Random(SEED)
        self.send_pipelined([self.request(number, draw) for number in range(100)])
        before = series(scrape(self.router.port))
        began = time.monotonic()
        sent = [self.request(number, draw) for number in range(TRIES)]
        self.assertEqual(self.send_pipelined(sent), TRIES)
        print(f"{TRIES} requests in {time.monotonic() - began:.1f} s")
        after = series(scrape(self.router.port))

        def shape(found):
            return {name: sorted(sorted(has.items()) for has, _ in entries)
                    for name, entries in found.items()}

        self.assertEqual(shape(after), shape(before))
        total = lambda found: sum(number for _, number in found["facet_requests_total"])
        self.assertGreater(total(after), total(before) + TRIES / 2)
