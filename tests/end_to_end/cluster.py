"""Starts routers and workers for tests, and ends exactly those, whatever happens."""
import atexit
import contextlib
import http.client
import json
import os
import queue
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

# On a busy machine a start takes seconds; a hang takes for ever.
START_DEADLINE_S = 60
END_DEADLINE_S = 40
POLL_INTERVAL_S = 0.005

_programs = {}
_living = []  # every Process that was started and not ended
_logs = tempfile.mkdtemp(prefix="facet-end-to-end-")
model_path = ""
checkout = ""


def configure(bin_folder, model, checkout_folder):
    """Says where the programs and the model are. To be called once, before the tests."""
    global model_path, checkout
    model_path, checkout = os.path.abspath(model), checkout_folder
    for name, folder in (("facet", "ops/cli"), ("facet-worker", "worker"),
                         ("facet-router", "router"), ("fake_worker", "tests/fake_worker")):
        path = os.path.join(os.path.abspath(bin_folder), folder, name)
        if not os.access(path, os.X_OK):
            raise SystemExit(f"{path} is missing: bazel build //{folder}:{name}")
        _programs[name] = path
    if not os.path.exists(model_path):
        raise SystemExit(f"{model_path} is missing: name a model with --model")


def program(name):
    return _programs[name]


def keep_logs():
    """Leaves the logs of all processes on disk, for a person to read."""
    atexit.unregister(_remove_logs)
    print(f"The processes' logs are in {_logs}")


def wait_until(condition, what, deadline_s=START_DEADLINE_S, interval_s=POLL_INTERVAL_S):
    """Returns the first true value of condition(), or raises. `interval_s` is between two looks."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s} s for {what}")
        time.sleep(interval_s)


class StartFailure(Exception):
    """A process ended before it was ready."""

    def __init__(self, process):
        super().__init__(f"{process.name} ended with {process.exit_code}: {process.stderr()}")
        self.process = process


class Process:
    """A child process with its standard output by lines and its standard error in a file."""

    def __init__(self, name, *flags):
        self.name = name
        handle, self._stderr_path = tempfile.mkstemp(prefix=name + "-", suffix=".log", dir=_logs)
        # A group of its own, so that Ctrl-C reaches us alone and we end it; and it ends with us
        # even where we are killed.
        self._popen = subprocess.Popen(["setpriv", "--pdeathsig=TERM", program(name), *flags],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=handle, text=True, process_group=0)
        os.close(handle)
        _living.append(self)
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._popen.stdout:
            self._lines.put(line)
        self._lines.put(None)

    @property
    def pid(self):
        return self._popen.pid

    @property
    def exit_code(self):
        return self._popen.poll()

    def read_line(self):
        """The next line of standard output; StartFailure when there is no more."""
        line = self._lines.get(timeout=START_DEADLINE_S)
        if line is None:
            self.wait()
            raise StartFailure(self)
        return line

    def stderr(self):
        with open(self._stderr_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def warnings(self, **fields):
        """The log's warnings and errors with these fields, as dictionaries."""
        lines = [json.loads(line) for line in self.stderr().splitlines() if line.startswith("{")]
        return [line for line in lines
                if line["level"] in ("warning", "error") and fields.items() <= line.items()]

    def wait(self, deadline_s=END_DEADLINE_S):
        self._popen.wait(deadline_s)
        self._forget()
        return self._popen.returncode

    def kill(self):
        """As kill -9 does."""
        self._popen.kill()
        self.wait()

    def stop(self, deadline_s=END_DEADLINE_S):
        """As an operator does: SIGTERM; kills what has not ended by the deadline."""
        if self._popen.poll() is None:
            self._popen.terminate()
        try:
            return self.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end {deadline_s} s after SIGTERM")

    def _forget(self):
        if self in _living:
            _living.remove(self)
            self._reader.join()
            self._popen.stdout.close()


class Worker(Process):
    def __init__(self, *flags, model=None, port=0):
        super().__init__("facet-worker", f"--model={model or model_path}", f"--port={port}",
                         "--metrics_port=0", "--threads=1", "--kv_cache_mib=256", *flags)
        ports = json.loads(self.read_line())
        self.port, self.metrics_port = ports["grpc_port"], ports["metrics_port"]
        self.address = f"127.0.0.1:{self.port}"


class FakeWorker(Process):
    """A worker without a model that says what it is told: see tests/fake_worker."""

    def __init__(self, *flags):
        super().__init__("fake_worker", *flags)
        self.address = f"127.0.0.1:{json.loads(self.read_line())['port']}"


class HttpServer:
    """What listens for HTTP on 127.0.0.1:port."""
    port = None

    def connect(self, timeout_s=60):
        return contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout_s))

    def request(self, method, path, body=None, headers=None):
        """One request on a connection of its own: (status, headers, text)."""
        with self.connect() as connection:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()

    def post(self, path, body):
        """Sends JSON and gives the answer's; an AssertionError if it is not 200."""
        status, _, text = self.request("POST", path, json.dumps(body),
                                       {"Content-Type": "application/json"})
        assert status == 200, f"{status}: {text}"
        return json.loads(text)

    def get(self, path):
        """The JSON that a path answers; an AssertionError if it is not 200."""
        status, _, text = self.request("GET", path)
        assert status == 200, f"{status}: {text}"
        return json.loads(text)

    def metric(self, name, **labels):
        """The sum over all series of this name with these labels; None if there is none."""
        values = []
        for line in self.request("GET", "/metrics")[2].splitlines():
            series = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if series is None or series[1] != name:
                continue
            has = dict(re.findall(r'(\w+)="([^"]*)"', series[2] or ""))
            if labels.items() <= has.items():
                values.append(float(series[3]))
        return sum(values) if values else None

    def wait_ready(self):
        wait_until(lambda: self.request("GET", "/readiness")[0] == 200, "/readiness to say 200")


class Router(Process, HttpServer):
    def __init__(self, workers, *flags):
        addresses = ",".join(worker.address for worker in workers)
        super().__init__("facet-router", f"--workers={addresses}", "--host=127.0.0.1", "--port=0",
                         "--grpc_port=0", *flags)
        ports = json.loads(self.read_line())
        self.port, self.grpc_port = ports["http_port"], ports["grpc_port"]

    def wait_workers(self, count):
        wait_until(lambda: self.metric("facet_worker_up") == count, f"{count} workers to be up")


class Serve(Process, HttpServer):
    """`facet serve`: a router and workers under one supervisor."""

    def __init__(self, *flags):
        super().__init__("facet", "serve", model_path, "--port=0", "--grpc_port=0",
                         "--worker_port=0", "--worker_metrics_port=0", "--kv_cache_mib=256",
                         *flags)
        match = None
        while match is None:
            match = re.search(r"http://127\.0\.0\.1:(\d+)", self.read_line())
        self.port = int(match[1])

    def child_pids(self, name):
        """The process ids of its living children that run this program."""
        pids = []
        with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
            for pid in file.read().split():
                with contextlib.suppress(OSError):
                    if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == name:
                        pids.append(int(pid))
        return pids


class Cluster:
    """A router and its workers, ready."""

    def __init__(self, worker_count=2, worker_flags=(), router_flags=(), make_worker=Worker):
        self.workers = [make_worker(*worker_flags) for _ in range(worker_count)]
        self.router = Router(self.workers, *router_flags)
        self.router.wait_ready()
        self.router.wait_workers(worker_count)

    def stop(self):
        for process in [self.router, *self.workers]:
            if process.exit_code is None:
                process.stop()


def run_facet(*arguments, lines=(), expect_failure=False):
    """Runs `facet` with JSON lines on stdin: the JSON lines that it printed, or its stderr."""
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([program("facet"), *arguments], input=text, capture_output=True,
                          text=True, timeout=120, check=False)
    if expect_failure:
        assert done.returncode == 1, f"exit code {done.returncode}: {done.stdout}"
        return done.stderr
    assert done.returncode == 0, done.stderr
    return done.stdout


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


@contextlib.contextmanager
def taken_port():
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def _kill_living():
    for process in list(_living):
        with contextlib.suppress(Exception):
            process.kill()


def _remove_logs():
    shutil.rmtree(_logs, ignore_errors=True)


# Last registered, first run.
atexit.register(_remove_logs)
atexit.register(_kill_living)
