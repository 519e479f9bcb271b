"""Random load on a router and a worker: clients that ask, read, hang up and cancel, and the memory
that both processes hold meanwhile."""
import collections
import contextlib
import http.client
import json
import random
import statistics
import threading

import grpc

CLIENTS = 12
# Longer than any answer here takes on a busy machine: a request that has not ended by then hangs.
ANSWER_DEADLINE_S = 120
# Ids that every vocabulary has.
TOKEN_IDS = range(300, 500)
# Half of the prompts begin with one of these, so that they meet in the prefix cache.
SHARED_PREFIXES = 8
PROMPT_TOKENS_MAX = 700


class Client:
    """One thread's endless sequence of requests, the same for the same seed and number."""

    def __init__(self, router, rpc, seed, number, count):
        self._router, self._rpc, self._count = router, rpc, count
        self._random = random.Random(f"{seed} {number}")
        prefixes = random.Random(seed)
        self._prefixes = [prefixes.choices(TOKEN_IDS, k=prefixes.randrange(64, 600))
                          for _ in range(SHARED_PREFIXES)]
        self._ways = {self._read_stream: 35, self._hang_up_in_stream: 25, self._read_answer: 12,
                      self._hang_up_before_answer: 10, self._stop_string: 5, self._invalid: 5,
                      self._cancel_at_worker: 4, self._deadline_at_worker: 4}

    def run_one(self):
        way, = self._random.choices(list(self._ways), list(self._ways.values()))
        way()

    def _prompt(self):
        tokens = self._random.choices(TOKEN_IDS, k=self._random.randint(1, PROMPT_TOKENS_MAX))
        if self._random.random() < 0.5:
            tokens = self._random.choice(self._prefixes) + tokens[:100]
        return [2] + tokens

    def _body(self, **fields):
        pick = self._random.choice
        body = {"prompt": self._prompt(), "max_tokens": self._random.randint(1, 120),
                "temperature": pick([0, 0.7, 1, 2]), "top_p": pick([0.5, 0.95, 1]),
                "seed": self._random.randrange(2**31), "ignore_eos": pick([True, False]),
                "presence_penalty": pick([0, 0, 1]), "frequency_penalty": pick([0, 0, 0.5]),
                "n": pick([1, 1, 1, 2])}
        if pick([True, False]):
            body["logprobs"] = pick([0, 5])
        return body | fields

    @contextlib.contextmanager
    def _ask(self, body, path="/v1/completions"):
        """A connection that has sent the request; it is closed at the end, answered or not."""
        with contextlib.closing(http.client.HTTPConnection(
                "127.0.0.1", self._router.port, ANSWER_DEADLINE_S)) as connection:
            connection.request("POST", path, json.dumps(body),
                               {"Content-Type": "application/json"})
            self._count("http")
            yield connection

    def _answer(self, connection, status=200):
        response = connection.getresponse()
        assert response.status == status, f"{response.status}: {response.read()}"
        return response

    def _read_stream(self):
        body = self._body(stream=True)
        with self._ask(body) as connection:
            events = [line for line in self._answer(connection) if line.startswith(b"data: ")]
        assert events[-1] == b"data: [DONE]\n", events[-1]
        assert sum(b'"finish_reason":"' in event for event in events) == body["n"], events
        self._count("read")

    def _hang_up_in_stream(self):
        with self._ask(self._body(stream=True, max_tokens=500, logprobs=0)) as connection:
            response = self._answer(connection)
            for _ in range(self._random.randint(1, 100)):
                if not response.readline():
                    break
        self._count("hung_up")

    def _read_answer(self):
        body = self._body()
        with self._ask(body) as connection:
            answer = json.loads(self._answer(connection).read())
        assert len(answer["choices"]) == body["n"], answer
        self._count("read")

    def _hang_up_before_answer(self):
        with self._ask(self._body(max_tokens=500)) as connection:
            connection.sock.settimeout(self._random.random() * 0.2)
            try:
                self._answer(connection).read()
            except TimeoutError:
                self._count("hung_up")

    def _stop_string(self):
        """The router cuts at the first of these and cancels the rest at the worker."""
        body = self._body(max_tokens=500, n=1, stop=["a", "e", " "])
        with self._ask(body) as connection:
            json.loads(self._answer(connection).read())
        self._count("read")

    def _invalid(self):
        with self._ask(self._body(temperature=self._random.choice([-1, "hot"]))) as connection:
            self._answer(connection, status=400).read()
        self._count("refused")

    def _generate_at_worker(self, **fields):
        self._count("grpc")
        return self._rpc.generate(prompt_tokens=self._prompt(), tokens_max=500,
                                  sampling={"temperature": 1, "top_k": 64}, **fields)

    def _cancel_at_worker(self):
        replies = self._generate_at_worker()
        for _ in range(self._random.randint(1, 50)):
            next(replies)
        replies.cancel()
        self._count("hung_up")

    def _deadline_at_worker(self):
        reply = None
        with contextlib.suppress(grpc.RpcError):
            for reply in self._generate_at_worker(deadline_ms=self._random.randint(1, 300)):
                pass
        assert reply is not None and reply.finish_reason != 0, reply
        self._count("read")


class Load:
    """Runs CLIENTS of them until stopped, and counts."""

    def __init__(self, router, rpc, seed):
        self.counts = collections.Counter()
        self.failures = []
        self.failed = threading.Event()  # at the first failure
        self._lock = threading.Lock()
        self._stopping = False
        self._threads = [threading.Thread(target=self._run, daemon=True, args=(
            Client(router, rpc, seed, number, self._count),)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _count(self, what):
        with self._lock:
            self.counts[what] += 1

    def _run(self, client):
        while not self._stopping:
            try:
                client.run_one()
            except Exception as failure:  # of any kind: the thread must go on
                self.failures.append(repr(failure)[:2000])
                self.failed.set()

    def stop(self):
        """Lets each client end its request."""
        self._stopping = True
        for thread in self._threads:
            thread.join(ANSWER_DEADLINE_S)
            assert not thread.is_alive(), "a request has not ended"


def resident_bytes(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        line, = [line for line in file if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


class Memory:
    """What processes hold over time: compares the time after the warm-up with the end."""

    def __init__(self, processes, duration_s):
        self._processes = processes
        # The first fifth, or ten minutes, fill caches, pools and the allocator's arenas. Of the
        # rest, the first and the last tenth are compared by their medians.
        self._warm_up_s = min(600, duration_s / 5)
        self._window_s = (duration_s - self._warm_up_s) / 10
        self._duration_s = duration_s
        self._samples = []

    def sample(self, now_s):
        sizes = {process.name: resident_bytes(process) for process in self._processes}
        self._samples.append((now_s, sizes))
        return sizes

    def _median(self, name, begin_s, end_s):
        return statistics.median(sizes[name] for now_s, sizes in self._samples
                                 if begin_s <= now_s <= end_s)

    def growth(self):
        """Name to (bytes after the warm-up, bytes at the end, growth as a share of the first)."""
        result = {}
        for process in self._processes:
            first = self._median(process.name, self._warm_up_s, self._warm_up_s + self._window_s)
            last = self._median(process.name, self._duration_s - self._window_s, self._duration_s)
            result[process.name] = (first, last, last / first - 1)
        return result
