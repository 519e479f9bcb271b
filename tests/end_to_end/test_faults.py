"""What happens when processes die, ports are taken, files are broken and clients misbehave."""
import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import tempfile
import threading
import time
import unittest

import cluster
from cluster import Process, Router, Serve, StartFailure, Worker, wait_until

QUESTION = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 8}
ENDLESS = QUESTION | {"max_tokens": 3000, "ignore_eos": True, "stream": True, "logprobs": True}
# Longer than any answer here takes on a busy machine, shorter than the bounds that it tests.
ANSWER_DEADLINE_S = 5


def ask(server):
    """The answer's text; raises unless it is 200."""
    return server.post("/v1/chat/completions", QUESTION)["choices"][0]["message"]["content"]


def events(response):
    """The data of each event of a stream, until it ends."""
    for line in response:
        if line.startswith(b"data: "):
            yield line[len("data: "):].strip().decode()


@contextlib.contextmanager
def open_stream(server, body):
    with server.connect() as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        response = connection.getresponse()
        assert response.status == 200, response.read()
        yield events(response)


class WorkerDeathTest(unittest.TestCase):
    def setUp(self):
        self.servers = cluster.Cluster(worker_count=2)
        self.addCleanup(self.servers.stop)
        self.router = self.servers.router
        self.first, self.second = self.servers.workers

    def up(self, worker):
        return self.router.metric("facet_worker_up", worker=worker.address)

    def start_on(self, port):
        """A worker on a port that was free a moment ago; somebody's connection may use it now."""
        def start():
            with contextlib.suppress(StartFailure):
                return Worker(port=port)
            return None
        return wait_until(start, f"port {port} to be free")

    def losses(self, worker):
        """What the router's log says against a worker."""
        return [line["message"] for line in self.router.warnings(worker=worker.address)]

    def test_requests_go_on_without_it_and_with_it_again(self):
        expected = ask(self.router)
        self.first.kill()
        self.assertEqual({ask(self.router) for _ in range(100)}, {expected})
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            self.assertEqual(set(pool.map(lambda _: ask(self.router), range(16))), {expected})
        wait_until(lambda: self.up(self.first) == 0, "facet_worker_up to be 0")
        self.assertEqual(self.up(self.second), 1)
        self.assertEqual(self.losses(self.first), ["worker lost"])

        self.servers.workers[0] = again = self.start_on(self.first.port)
        wait_until(lambda: self.up(again) == 1, "the worker to be used again")
        self.second.kill()
        self.assertEqual({ask(self.router) for _ in range(10)}, {expected})
        wait_until(lambda: self.up(self.second) == 0, "facet_worker_up to be 0")
        self.assertEqual(self.losses(self.first), ["worker lost"])
        self.assertEqual(self.losses(self.second), ["worker lost"])

    def test_every_stream_goes_on(self):
        """Given streams on both workers and one that dies, expect all to end as they would have."""
        body = ENDLESS | {"max_tokens": 300}
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(open_stream(self.router, body)) for _ in range(8)]
            answers = [[next(stream)] for stream in streams]
            self.first.kill()
            for answer, stream in zip(answers, streams):
                answer += list(stream)
        moved = self.router.metric("facet_failovers_total", reason="worker_lost", exact="true")
        print(f"of 8 streams, {moved:.0f} went on at the other worker")
        self.assertGreater(moved, 0)
        for answer in answers:
            self.assertEqual(answer[-1], "[DONE]")
            choices = [json.loads(data)["choices"][0] for data in answer[:-1]]
            tokens = sum(len((choice["logprobs"] or {"content": []})["content"])
                         for choice in choices)
            self.assertEqual(tokens, 300)
            self.assertEqual(choices[-1]["finish_reason"], "length")
        wait_until(lambda: self.router.metric("facet_requests_running") == 0, "nothing to run")


class NoWorkerTest(unittest.TestCase):
    def test_503_with_retry_after(self):
        with socket.socket() as reserved:
            # Bound and not listening: whoever connects is refused.
            reserved.bind(("127.0.0.1", 0))

            class Nobody:
                address = f"127.0.0.1:{reserved.getsockname()[1]}"

            router = Router([Nobody])
            self.addCleanup(router.stop)
            for path in ("/v1/chat/completions", "/v1/completions"):
                status, headers, text = router.request(
                    "POST", path, json.dumps(QUESTION | {"prompt": "Hello"}))
                self.assertEqual(status, 503, text)
                self.assertGreaterEqual(int(headers["Retry-After"]), 1)
                self.assertEqual(json.loads(text)["error"]["type"], "server_error")
            self.assertEqual(router.request("GET", "/readiness")[0], 503)
            self.assertEqual(router.request("GET", "/health")[0], 200)

    def test_the_last_worker_gone(self):
        servers = cluster.Cluster(worker_count=1, router_flags=["--worker_wait_ms=100"])
        self.addCleanup(servers.stop)
        servers.workers[0].kill()
        # The request that finds it gone has nowhere else to go.
        status, headers, text = servers.router.request("POST", "/v1/chat/completions",
                                                       json.dumps(QUESTION))
        self.assertEqual(status, 503, text)
        self.assertIn("Retry-After", headers)


class ServeTest(unittest.TestCase):
    def setUp(self):
        self.serve = Serve("--workers=2", "--threads=1")
        self.addCleanup(lambda: self.serve.exit_code is None and self.serve.stop())
        self.serve.wait_ready()

    def all_up(self):
        # The router itself may be the one that is gone.
        with contextlib.suppress(OSError):
            return self.serve.metric("facet_worker_up") == 2
        return False

    def test_what_dies_is_started_again(self):
        expected = ask(self.serve)
        wait_until(self.all_up, "both workers to be up")
        for name in ("facet-worker", "facet-router"):
            with self.subTest(name):
                before = self.serve.child_pids(name)
                os.kill(before[0], signal.SIGKILL)
                if name == "facet-worker":
                    self.assertEqual({ask(self.serve) for _ in range(20)}, {expected})
                wait_until(lambda: len(set(self.serve.child_pids(name)) - {before[0]})
                           == len(before), f"a new {name}")
                wait_until(self.all_up, "both workers to be up")
                self.assertEqual(ask(self.serve), expected)

    def test_sigterm_and_death_end_all(self):
        for end in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(end):
                serve = Serve("--workers=2", "--threads=1")
                children = serve.child_pids("facet-worker") + serve.child_pids("facet-router")
                self.assertEqual(len(children), 3)
                os.kill(serve.pid, end)
                self.assertEqual(serve.wait(), 0 if end == signal.SIGTERM else -end)
                wait_until(lambda: not any(map(runs, children)), "the children to end")


def runs(pid):
    """Whether a process is there and more than a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class StartFailureTest(unittest.TestCase):
    """What cannot start says why in one line, and ends with 1."""

    def assert_refused(self, words, name, *flags):
        with self.subTest(name=name, flags=flags):
            process = Process(name, *flags)
            with self.assertRaises(StartFailure):
                process.read_line()
            self.assertEqual(process.exit_code, 1)
            # The log's own lines are JSON.
            lines = [line for line in process.stderr().splitlines() if not line.startswith("{")]
            self.assertEqual(len(lines), 1, process.stderr())
            for word in words:
                self.assertIn(word, lines[0])

    def test_port_in_use(self):
        with cluster.taken_port() as port:
            model = f"--model={cluster.model_path}"
            self.assert_refused([str(port), "in use", "--port"], "facet-worker", model,
                                f"--port={port}", "--metrics_port=0")
            self.assert_refused([str(port), "in use", "--metrics_port"], "facet-worker", model,
                                "--port=0", f"--metrics_port={port}")
            for flag in ("--port", "--grpc_port"):
                other = "--grpc_port" if flag == "--port" else "--port"
                self.assert_refused([str(port), "in use", flag], "facet-router",
                                    "--workers=127.0.0.1:1", "--host=127.0.0.1", f"{flag}={port}",
                                    f"{other}=0")
            ports = {"--port", "--grpc_port", "--worker_port", "--worker_metrics_port"}
            for flag in sorted(ports):
                self.assert_refused([str(port), "in use", flag], "facet", "serve",
                                    cluster.model_path, f"{flag}={port}",
                                    *(f"{other}=0" for other in ports - {flag}))

    def test_bad_model_file(self):
        with open(cluster.model_path, "rb") as file:
            good = file.read()
        with tempfile.TemporaryDirectory(prefix="facet-faults-") as folder:
            files = {"empty.gguf": b"", "header.gguf": good[:100],
                     "half.gguf": good[:len(good) // 2], "short.gguf": good[:-1],
                     "text.gguf": b"not a model\n" * 100}
            paths = [os.path.join(folder, "missing.gguf"), folder]
            for name, content in files.items():
                paths.append(os.path.join(folder, name))
                with open(paths[-1], "wb") as file:
                    file.write(content)
            for path in paths:
                self.assert_refused([path], "facet-worker", f"--model={path}", "--port=0")
                self.assert_refused([path], "facet", "serve", path, "--port=0", "--grpc_port=0",
                                    "--worker_port=0", "--worker_metrics_port=0")

    def test_nothing_named(self):
        self.assert_refused(["--model"], "facet-worker", "--port=0")
        self.assert_refused(["--metrics_port"], "facet-worker", f"--model={cluster.model_path}",
                            "--port=0", "--metrics_port=65536")
        self.assert_refused(["--workers"], "facet-router", "--port=0", "--grpc_port=0")
        self.assert_refused(["facet serve"], "facet", "serve", "--port=0")

    def test_addresses_that_cannot_be_meant(self):
        worker = ["facet-worker", f"--model={cluster.model_path}", "--port=0"]
        self.assert_refused(["--router", "host:port"], *worker, "--router=nowhere")
        self.assert_refused(["--advertise"], *worker, "--router=127.0.0.1:1", "--host=0.0.0.0")
        self.assert_refused(["--advertise"], *worker, "--router=127.0.0.1:1",
                            "--advertise=0.0.0.0:9381")
        self.assert_refused(["--workers", "host:port"], "facet-router", "--port=0",
                            "--grpc_port=0", "--workers=dns:///nowhere")


class BadClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.servers = cluster.Cluster(worker_count=1)
        cls.addClassCleanup(cls.servers.stop)
        cls.router = cls.servers.router

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.router.port), 60)
        self.addCleanup(connection.close)
        return connection

    def assert_serves(self):
        begin = time.monotonic()
        self.assertTrue(ask(self.router))
        self.assertLess(time.monotonic() - begin, ANSWER_DEADLINE_S)

    def send_all_or_until_closed(self, connection, chunks):
        """What the server answers to a body that it need not take."""
        def send():
            with contextlib.suppress(OSError):
                for chunk in chunks:
                    connection.sendall(chunk)

        sender = threading.Thread(target=send)
        sender.start()
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                answer += piece
        connection.close()
        sender.join()
        return answer.decode()

    def test_100_mb_body(self):
        """Given 100 MB with and without their length told, expect 413 and a server that goes on."""
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        size = 100_000_000
        block = b"x" * 1_000_000
        declared = [f"{head}Content-Length: {size}\r\n\r\n".encode()] + [block] * 100
        chunked = ([f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()]
                   + [f"{len(block):x}\r\n".encode() + block + b"\r\n"] * 100 + [b"0\r\n\r\n"])
        for chunks in (declared, chunked):
            answer = self.send_all_or_until_closed(self.connect(), chunks)
            self.assertTrue(answer.startswith("HTTP/1.1 413 "), answer[:200])
            error = json.loads(answer[answer.index("\r\n\r\n"):])["error"]
            self.assertEqual(error["type"], "invalid_request_error")
            self.assert_serves()

    def test_half_requests_block_nobody(self):
        halves = [b"POST", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n",
                  b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"]
        for half in halves * 20:
            self.connect().sendall(half)
        for _ in range(5):
            self.assert_serves()

    def test_half_requests_end(self):
        """Given requests that never come whole, expect the router to close them by its timeouts."""
        router = Router(self.servers.workers, "--header_timeout_ms=200", "--body_timeout_ms=200")
        self.addCleanup(router.stop)
        for half in (b"P", b"POST /v1/chat",
                     b"POST /tokenize HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"):
            with socket.create_connection(("127.0.0.1", router.port), 30) as connection:
                connection.sendall(half)
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
                self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer)

    def test_clients_that_do_not_read_block_nobody(self):
        body = json.dumps(ENDLESS | {"n": 4})
        for _ in range(4):
            connection = self.connect()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                               f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        for _ in range(5):
            self.assert_serves()
        self.doCleanups()  # closes them
        wait_until(lambda: self.router.metric("facet_requests_running") == 0, "nothing to run")

    def test_what_is_no_http(self):
        for rubbish in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"hello\r\n\r\n",
                        b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100_000):
            connection = self.connect()
            connection.sendall(rubbish)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass
            self.assert_serves()
