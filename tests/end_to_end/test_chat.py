"""`facet chat` against a scripted server: piped lines, and a terminal with Ctrl-C."""
import os
import pty
import select
import signal
import subprocess
import tempfile
import time
import unittest

import cluster
import scripted


def chat_command(port, *flags):
    return [cluster.program("facet"), "chat", f"--url=http://127.0.0.1:{port}", *flags]


def talk(port, *lines):
    """What is printed for these lines: (stdout, stderr)."""
    done = subprocess.run(chat_command(port), input="".join(line + "\n" for line in lines),
                          capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, done.stderr


class Terminal:
    """`facet chat` on a terminal of its own."""

    def __init__(self, port, *flags):
        self.pid, self._handle = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(cluster.program("facet"), chat_command(port, *flags))
        self._shown = ""

    def type(self, text):
        os.write(self._handle, text.encode())

    def read_until(self, text, deadline_s=30):
        """What is shown up to and with `text`, since the last call."""
        end = time.monotonic() + deadline_s
        while text not in self._shown:
            if not select.select([self._handle], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"waited {deadline_s} s for {text!r} in {self._shown!r}")
            self._shown += os.read(self._handle, 65536).decode(errors="replace")
        at = self._shown.index(text) + len(text)
        shown, self._shown = self._shown[:at], self._shown[at:]
        return shown

    def kill(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self._handle)


class PipeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.servers = scripted.start()
        cls.addClassCleanup(cls.servers.stop)
        cls.port = cls.servers.router.port

    def test_lines_are_questions(self):
        shown, errors = talk(self.port, "Hello", "/reset", "Again")
        self.assertEqual(shown.count(f"{scripted.THOUGHT}\n\n{scripted.TEXT}"), 2)
        self.assertEqual(errors, "")

    def test_help_and_mistakes(self):
        with tempfile.NamedTemporaryFile(suffix=".txt") as file:
            shown, errors = talk(self.port, "/help", "/dance", "/image /no/such.png",
                                 f"/audio {file.name}")
        self.assertIn("/reset", shown)
        self.assertIn("no such command: /dance", errors)
        self.assertIn("cannot read /no/such.png", errors)
        self.assertIn("ends in none of", errors)

    def test_errors_of_the_server_are_shown(self):
        _, errors = talk(self.port, "x" * 200_000)
        self.assertIn("context", errors)
        with cluster.taken_port() as port:
            done = subprocess.run(chat_command(port, "--url=ftp://host"), input="", timeout=60,
                                  capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--url=ftp://host", done.stderr)


class TerminalTest(unittest.TestCase):
    def test_thoughts_are_dimmed_and_ctrl_c_stops_an_answer(self):
        worker = cluster.FakeWorker("--answer=<|channel>thought\nHm.<channel|>and on and on",
                                    "--hold_after=25")
        self.addCleanup(worker.stop)
        router = cluster.Router([worker])
        self.addCleanup(router.stop)
        router.wait_ready()
        terminal = Terminal(router.port, "--thinking")
        self.addCleanup(terminal.kill)
        terminal.read_until("> ")
        terminal.type("Hello\n")
        self.assertIn("\x1b[2mHm.", terminal.read_until("and on"))
        terminal.type("\x03")
        terminal.read_until("> ")
        cluster.wait_until(lambda: router.metric("facet_requests_running") == 0,
                           "the answer to end at the router")
