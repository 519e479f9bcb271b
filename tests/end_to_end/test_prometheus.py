"""A real Prometheus scrapes a real cluster: every panel has data, every rule's metrics are there,
and alerts fire under real faults.

FACET_PROMETHEUS_S says for how long load runs (40 s; 600 before a release).
"""
import base64
import concurrent.futures
import contextlib
import hashlib
import json
import math
import os
import random
import re
import socket
import tempfile
import threading
import time
import unittest

import yaml

import cluster
from prometheus import Prometheus

LOAD_S = int(os.environ.get("FACET_PROMETHEUS_S", "40"))
SEED = int(os.environ.get("FACET_SEED", "20261122"))
CLIENTS = 10
RULES = "ops/alerts/facet.rules.yaml"
ASSISTANT = "model/nano/facet-nano-assistant.gguf"


def checkout_file(*names):
    return os.path.join(cluster.checkout, *names)


def panels():
    """(title, expression) of each query of the dashboard, with Grafana's variables filled in."""
    with open(checkout_file("ops/dashboards/facet.json"), encoding="utf-8") as file:
        dashboard = json.load(file)
    values = {each["name"]: each["query"] for each in dashboard["templating"]["list"]}
    values["__rate_interval"] = "30s"
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], re.sub(r"\$(\w+)", lambda name: values[name[1]], target["expr"])


def metrics_of(expression):
    """The metrics that an expression names."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"|\b(by|ignoring|on|group_left) ?\([^)]*\)", " ",
                  expression)
    return {name for name in re.findall(r"[a-zA-Z_:][\w:]*(?!\s*\()\b", bare)
            if re.match(r"(facet|process|vllm|up$)", name)}


def free_port():
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def targets(router, workers):
    return {"facet-router": [f"127.0.0.1:{router.port}"],
            "facet-worker": [f"127.0.0.1:{worker.metrics_port}" for worker in workers]}


class Load:
    """Clients that send all kinds of requests, one after the other, until it is left."""

    def __init__(self, router, keys=("",)):
        self.router, self.keys = router, keys
        self.over = threading.Event()
        self.statuses = []
        self._pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)
        with open(checkout_file("model/nano/examples/picture.png"), "rb") as file:
            self._picture = "data:image/png;base64," + base64.b64encode(file.read()).decode()

    def __enter__(self):
        self._futures = [self._pool.submit(self._client, number) for number in range(CLIENTS)]
        return self

    def __exit__(self, *_):
        self.over.set()
        with self._pool:
            for future in self._futures:
                future.result()

    def _client(self, number):
        draw = random.Random(SEED + number)
        prefixes = [" ".join(f"{draw.randrange(1000)}" for _ in range(120)) for _ in range(3)]
        while not self.over.is_set():
            words = f"{draw.choice(prefixes)} What is {draw.randrange(50)} + {draw.randrange(50)}?"
            self._send(draw, words)

    def _send(self, draw, words):
        tokens = draw.randrange(1, 40)
        messages = [{"role": "user", "content": words}]
        kind = draw.choice(("chat", "stream", "leave", "completion", "message", "response",
                            "picture", "bad"))
        path, body = "/v1/chat/completions", {"messages": messages, "max_tokens": tokens}
        if kind in ("stream", "leave"):
            body["stream"] = True
        elif kind == "completion":
            path, body = "/v1/completions", {"prompt": words, "max_tokens": tokens}
        elif kind == "message":
            path = "/v1/messages"
        elif kind == "response":
            path, body = "/v1/responses", {"input": words, "max_output_tokens": tokens}
        elif kind == "picture":
            messages[0]["content"] = [{"type": "image_url", "image_url": {"url": self._picture}},
                                      {"type": "text", "text": "Describe the picture."}]
        elif kind == "bad":
            body["temperature"] = -1
        headers = {"Content-Type": "application/json"}
        if key := draw.choice(self.keys):
            headers["Authorization"] = f"Bearer {key}"
        with contextlib.suppress(OSError), self.router.connect() as connection:
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            if kind == "leave":
                response.readline()
            else:
                response.read()
            self.statuses.append(response.status)


class PanelsTest(unittest.TestCase):
    # Given a cluster under load, in which also a worker of another model stands, expect data of
    # every query of every panel, and that all metrics that panels and rules name are there.
    def test_all_panels_have_data(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        tenants = os.path.join(folder, "tenants.json")
        with open(tenants, "w", encoding="utf-8") as file:
            json.dump({"tenants": [
                {"name": name, "keys": [hashlib.sha256(name.encode()).hexdigest()], **fields}
                for name, fields in (("a", {}), ("b", {"requests_per_minute": 60}))]}, file)
        workers = [cluster.Worker("--vllm_metric_names", "--running_requests_max=4",
                                  "--host_tier_bytes=67108864",
                                  "--assistant=" + checkout_file(ASSISTANT))
                   for _ in range(2)]
        for worker in workers:
            self.addCleanup(worker.stop)
        stranger = free_port()
        router = cluster.Router(workers, f"--workers={workers[0].address},{workers[1].address},"
                                f"127.0.0.1:{stranger}", f"--tenants={tenants}")
        self.addCleanup(router.stop)
        router.wait_ready()
        self.addCleanup(cluster.FakeWorker(f"--port={stranger}").stop)
        prometheus = Prometheus(targets(router, workers), [checkout_file(RULES)])
        self.addCleanup(prometheus.stop)
        print(f"seed {SEED}, {LOAD_S} s of load")
        with Load(router, ("a", "b")) as load:
            prometheus.wait_scraped()
            prometheus.wait_for(lambda: prometheus.query(f"facet_requests_total offset {LOAD_S}s"),
                               "the load to have run", LOAD_S + 60)
            empty, unknown, queries = [], [], 0
            for title, expression in panels():
                queries += 1
                values = [value for _, value in prometheus.query(expression)]
                if not values:
                    empty.append((title, expression))
                elif all(math.isnan(value) for value in values):
                    unknown.append((title, expression))
            self.assertEqual(empty, [])
            # A share of nothing; with this load there is no such panel.
            self.assertEqual(unknown, [])
            named = set().union(*(metrics_of(expression) for _, expression in panels()))
            rules = prometheus.rules()
            made = {rule["name"] for rule in rules if rule["type"] == "recording"}
            for rule in rules:
                self.assertEqual(rule["health"], "ok", rule)
                named |= metrics_of(rule["query"])
            there = prometheus.names()
            self.assertEqual(named - there - made, set())
            self.assertTrue({name for name in there if name.startswith("vllm:")})
        total = sum(value for _, value in prometheus.query("facet_requests_total"))
        series = len(prometheus.query('{__name__=~".+"}'))
        print(f"{queries} queries of {len({title for title, _ in panels()})} panels, "
              f"{len(rules)} rules, {len(named)} metrics; {total:.0f} requests, "
              f"{series} series")


class FaultsTest(unittest.TestCase):
    """Alerts fire when what they are for happens. They wait for nothing here that they wait for in
    earnest (`for:`), so that the test takes seconds."""

    def setUp(self):
        with open(checkout_file(RULES), encoding="utf-8") as file:
            rules = yaml.safe_load(file)
        for group in rules["groups"]:
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = "2s"
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.rules = os.path.join(folder, "rules.yaml")
        with open(self.rules, "w", encoding="utf-8") as file:
            json.dump(rules, file)

    def await_firing(self, *alerts):
        try:
            self.prometheus.wait_for(lambda: set(alerts) <= self.prometheus.firing(), "alerts", 90)
        except AssertionError:
            self.fail(f"{set(alerts) - self.prometheus.firing()} do not fire")

    def start(self, workers, router):
        self.prometheus = Prometheus(targets(router, workers), [self.rules])
        self.addCleanup(self.prometheus.stop)
        self.prometheus.wait_scraped()
        # Before anything is wrong nothing fires, also when rules have been looked at.
        self.prometheus.wait_for(lambda: all(rule["lastEvaluation"] > "1" for rule in
                                             self.prometheus.rules()), "the rules' evaluation")
        self.assertEqual(self.prometheus.firing(), set())

    @contextlib.contextmanager
    def streams(self, router, count, tokens=400):
        """So many long answers at once; those that end are asked for again."""
        over = threading.Event()

        def client(number):
            while not over.is_set():
                body = {"messages": [{"role": "user", "content": f"Count to {number}"}],
                        "max_tokens": tokens, "ignore_eos": True, "stream": True}
                with contextlib.suppress(OSError), router.connect(10) as connection:
                    connection.request("POST", "/v1/chat/completions", json.dumps(body))
                    response = connection.getresponse()
                    while response.readline() and not over.is_set():
                        pass

        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            for number in range(count):
                pool.submit(client, number)
            try:
                yield
            finally:
                over.set()

    # Given workers of two classes whose streams run, expect alerts when one is killed (answers
    # move, inexactly), when it has come back three times, and when both are gone.
    def test_workers_die(self):
        flags = ["--running_requests_max=16"]
        workers = [cluster.Worker(*flags), cluster.Worker(*flags, "--kv_format=bf16")]
        router = cluster.Router(workers, "--worker_wait_ms=200")
        self.addCleanup(router.stop)
        for worker in workers:
            self.addCleanup(worker.stop)
        router.wait_workers(2)
        self.start(workers, router)
        port, metrics_port = workers[0].port, workers[0].metrics_port
        with self.streams(router, 24):
            for _ in range(3):
                # Answers that have no token yet move exactly, wherever they go.
                tokens = router.metric("facet_inter_token_latency_seconds_count")
                cluster.wait_until(
                    lambda: router.metric("facet_inter_token_latency_seconds_count")
                    > tokens + 500, "all streams to run")
                killed = time.time() - 0.05  # the kernel counts starts in hundredths
                workers[0].kill()
                cluster.wait_until(lambda: router.metric("facet_worker_up") == 1,
                                   "the router to miss it")
                workers[0] = cluster.Worker(*flags, f"--metrics_port={metrics_port}", port=port)
                self.addCleanup(workers[0].stop)
                router.wait_workers(2)
                started = f'process_start_time_seconds{{instance="127.0.0.1:{metrics_port}"}}'
                self.prometheus.wait_for(
                    lambda: self.prometheus.query(f"{started} > {killed}"),
                    "its start to be scraped")
            self.await_firing("FacetWorkersLost", "FacetInexactFailovers", "FacetRestarts")
            for worker in workers:
                worker.kill()
            self.await_firing("FacetNoWorkers", "FacetWorkerDown", "FacetWorkerUnreachable",
                              "FacetShedding", "FacetRequestsFailFast", "FacetRequestsFailSteady",
                              "FacetRequestsFailSlow")
        self.assertNotIn("FacetRouterUnreachable", self.prometheus.firing())
        router.kill()
        self.await_firing("FacetRouterUnreachable")

    # Given more streams than workers and queue can hold, and a worker of another model, expect
    # alerts for each.
    def test_too_much_load(self):
        workers = [cluster.Worker("--running_requests_max=4", "--kv_cache_mib=12")]
        stranger = free_port()
        router = cluster.Router(workers, f"--workers={workers[0].address},127.0.0.1:{stranger}",
                                "--queue_answers_max=4")
        for process in (router, *workers):
            self.addCleanup(process.stop)
        router.wait_ready()
        self.start(workers, router)
        self.addCleanup(cluster.FakeWorker(f"--port={stranger}").stop)
        with self.streams(router, 24):
            self.await_firing("FacetQueueFull", "FacetReplicasShort", "FacetWorkerRefused",
                              "FacetRequestsFailFast")
