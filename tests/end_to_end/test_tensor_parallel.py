"""Models that several processes share: answers, faults of every rank, two hosts.

FACET_GROUP_FAULTS says how many faults, FACET_GROUP_FAULTS_SEED which."""
import concurrent.futures
import contextlib
import os
import random
import signal
import subprocess
import time
import unittest

import cluster
from cluster import json_lines, run_facet
from prompts import chat_prompts
from test_kills import example, media
from two_hosts import TwoHostsTest, enter

FAULTS = int(os.environ.get("FACET_GROUP_FAULTS", 4))
SEED = int(os.environ.get("FACET_GROUP_FAULTS_SEED", 20261122))
NOTICED_WITHIN_S = 2
# The supervisor's longest pause, a start, and a busy machine.
RECOVERED_WITHIN_S = 90
STREAM_DEADLINE_S = 120
# Whom the faults hit, and how: each in turn.
KINDS = [(rank, number) for number in (signal.SIGKILL, signal.SIGSTOP) for rank in ("0", "1")]


def flag_of(pid, name):
    """What a process was started with; None if it is gone, or not a program of its own yet."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
            for argument in file.read().split("\0"):
                if argument.startswith(f"--{name}="):
                    return argument.partition("=")[2]
    return None


def ended(pid):
    """Whether a process is gone, or a zombie that nobody has looked at yet."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    return True


def greedy(prompt, max_tokens):
    return {"messages": [{"role": "user", "content": prompt}], "max_tokens": max_tokens,
            "ignore_eos": True, "temperature": 0}


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class CommandTest(unittest.TestCase):
    def test_two_ranks_answer_as_one(self):
        lines = [greedy(prompt, 40) for prompt in chat_prompts(12)]
        one, two = (json_lines(run_facet("generate", f"--model={cluster.model_path}",
                                         "--threads=1", f"--tp={tp}", lines=lines))
                    for tp in (1, 2))
        equal = sum(a["tokens"] == b["tokens"] for a, b in zip(one, two))
        print(f"{equal} of {len(one)} greedy answers are equal")
        self.assertGreaterEqual(equal, 0.99 * len(one))

    def test_scores_are_near(self):
        lines = [{"text": "What is 17 + 25? 17 + 25 = 42. Spell the word garden."}]
        one, two = (json_lines(run_facet("score", f"--model={cluster.model_path}", "--threads=1",
                                         f"--tp={tp}", lines=lines))[0] for tp in (1, 2))
        for a, b in zip(one["logprobs"][1:], two["logprobs"][1:]):
            self.assertAlmostEqual(a, b, delta=1e-3)

    def test_two_ranks_see_hear_and_draft(self):
        nano = os.path.dirname(cluster.model_path)
        flags = ["--threads=1", f"--mmproj={nano}/mmproj-facet-nano.gguf",
                 f"--assistant={nano}/facet-nano-assistant.gguf"]
        sound = {"data": example("sound.wav", "audio/wav").partition(",")[2], "format": "wav"}
        lines = [media({"type": "image_url", "image_url": {
                     "url": example("picture.png", "image/png")}}, "Describe the picture."),
                 media({"type": "input_audio", "input_audio": sound}, "What is said?")]
        one, two = (json_lines(run_facet("generate", f"--model={cluster.model_path}",
                                         f"--tp={tp}", *flags, lines=lines)) for tp in (1, 2))
        self.assertEqual(one, two)
        self.assertTrue(all(line["text"] for line in one))

    def test_a_size_that_does_not_divide_is_refused(self):
        error = run_facet("generate", f"--model={cluster.model_path}", "--tp=3", lines=[],
                          expect_failure=True)
        self.assertIn("a tensor-parallel size of 3 does not divide 4 query heads; 1, 2, 4 do",
                      error)
        error = run_facet("generate", f"--model={cluster.model_path}", "--tp=0", lines=[],
                          expect_failure=True)
        self.assertIn("--tp=0", error)


    def test_bad_flags_are_named(self):
        for flags, word in ((["--tp_size=2", "--tp_rank=-1", "--tp_leader=a:1"], "--tp_rank=-1"),
                            (["--tp_size=99"], "--tp_size=99"),
                            (["--tp_size=2"], "--tp_leader"),
                            (["--tp_size=2", "--tp_leader=a:1", "--dry_run"], "--dry_run")):
            with self.assertRaises(cluster.StartFailure) as failure:
                cluster.Worker(*flags)
            self.assertIn(word, failure.exception.process.stderr().splitlines()[-1])

    def test_nobody_waits_for_ever_for_the_others(self):
        leader = f"--tp_leader=unix-abstract:facet-test-{os.getpid()}"
        with self.assertRaises(cluster.StartFailure) as failure:
            cluster.Worker("--tp_size=2", "--tp_timeout_s=1", leader)
        self.assertIn("waited 1s for rank 1", str(failure.exception))


class FaultTest(unittest.TestCase):
    """Two groups of two under `facet serve`, of which one loses a rank again and again."""

    def setUp(self):
        self.serve = cluster.Serve("--workers=2", "--tp=2", "--threads=1")
        self.addCleanup(self.serve.stop)
        self.serve.wait_ready()
        self.wait_groups()

    def wait_groups(self):
        cluster.wait_until(lambda: self.serve.metric("facet_worker_up") == 2,
                           "two groups to be up", RECOVERED_WITHIN_S)

    def ranks(self):
        """By group and rank, the process."""
        ranks = {(flag_of(pid, "tp_leader"), flag_of(pid, "tp_rank")): pid
                 for pid in self.serve.child_pids("facet-worker")}
        return {key: pid for key, pid in ranks.items() if None not in key}

    def wait_for_tokens(self, count):
        """Until so many more than now were generated."""
        goal = (self.serve.metric("facet_generated_tokens_total") or 0) + count
        cluster.wait_until(
            lambda: (self.serve.metric("facet_generated_tokens_total") or 0) >= goal, "tokens")

    def answer(self, body):
        return self.serve.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]

    def test_streams_go_on_and_groups_come_back(self):
        bodies = [greedy(prompt, 300) for prompt in chat_prompts(4)]
        expected = [self.answer(body) for body in bodies]
        choose = random.Random(SEED)
        noticed, recovered = [], []
        for i in range(FAULTS):
            rank, number = KINDS[i % len(KINDS)]
            ranks = self.ranks()
            self.assertEqual(len(ranks), 4)
            group = choose.choice(sorted({name for name, _ in ranks}))
            members = [pid for (name, _), pid in ranks.items() if name == group]
            with concurrent.futures.ThreadPoolExecutor(len(bodies)) as clients:
                answers = [clients.submit(self.answer, body) for body in bodies]
                self.wait_for_tokens(choose.randint(1, 800))
                begin = time.monotonic()
                os.kill(ranks[group, rank], number)
                cluster.wait_until(lambda: all(ended(pid) for pid in members),
                                   "the group to end")
                noticed.append(time.monotonic() - begin)
                for answer, text in zip(answers, expected):
                    self.assertEqual(answer.result(STREAM_DEADLINE_S), text,
                                     f"fault {i} of seed {SEED}: rank {rank}, signal {number}")
            cluster.wait_until(lambda: len(self.ranks()) == 4, "the group's new processes",
                               RECOVERED_WITHIN_S)
            self.wait_groups()
            recovered.append(time.monotonic() - begin)
        print(f"{FAULTS} faults of seed {SEED}: the group ended within "
              f"{percentile(noticed, 0.5):.2f} s (p50), {max(noticed):.2f} s (most); it was back "
              f"within {percentile(recovered, 0.5):.1f} s, {max(recovered):.1f} s")
        self.assertLess(max(noticed), NOTICED_WITHIN_S)


class GroupTest(TwoHostsTest):
    """A group of two hosts, by Gloo."""
    # Free, since nobody else is in these namespaces.
    LEADER_PORT = 9371

    def start_group(self):
        """The leader near, a follower far: (leader, follower)."""
        flags = ["--tp_size=2", f"--tp_leader={self.NEAR_HOST}:{self.LEADER_PORT}"]
        enter(self.far)
        follower = cluster.Process("facet-worker", f"--model={cluster.model_path}", "--threads=1",
                                   "--kv_cache_mib=256", "--tp_rank=1", *flags)
        self.addCleanup(follower.stop)
        enter(self.near)
        leader = cluster.Worker("--tp_rank=0", *flags)
        self.addCleanup(leader.stop)
        return leader, follower

    def check_serves(self):
        leader, follower = self.start_group()
        self.assertIn('"by":"gloo"', leader.stderr())
        router = cluster.Router([leader])
        self.addCleanup(router.stop)
        router.wait_workers(1)
        body = greedy(chat_prompts(1)[0], 60)
        answer = router.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
        self.assertTrue(answer)
        lossy = ["qdisc", "add", "dev", "wire", "root", "netem", "loss", "1%"]
        if subprocess.run(["tc", "-n", self.near, *lossy], capture_output=True,
                          check=False).returncode == 0:
            again = router.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
            self.assertEqual(again, answer)
            print("with a hundredth of all packets lost, the answer is the same")
        else:
            print("this kernel has no netem: nothing was lost")
        self.cut_wire()
        cut = time.monotonic()
        for rank in (leader, follower):
            rank.wait()
            self.assertTrue(rank.warnings(message="the tensor-parallel group is lost"))
        took = time.monotonic() - cut
        print(f"both ranks ended {took:.2f} s after the wire was cut")
        self.assertLess(took, NOTICED_WITHIN_S + 0.5)

    def test_serves_and_ends_with_the_wire(self):
        self.in_a_thread(self.check_serves)
