"""A prompt as long as the 12B's context, on the nano model with its context raised to that.

Some 25 minutes of processor time for each form, so not among the tests that are found by
themselves:

    tests/end_to_end/run --bin DIR long_context                          all forms
    tests/end_to_end/run --bin DIR long_context.LongContextTest.test_plain_f32

DIR holds programs of --config=release. FACET_LONG_TOKENS is the prompt's length, 262,000 if unset;
below some 50,000, pages that are not full are more than the 5 % by which memory may differ.
"""
import os
import random
import statistics
import struct
import tempfile
import threading
import time
import unittest

import cluster
from worker_rpc import LoadWatch, WorkerClient

SEED = 262
CONTEXT_TOKENS = 262144
STEP_TOKENS = 512
ANSWER_TOKENS = 16
PAGE_TOKENS = 64
WINDOW_TOKENS = 512  # as all below, of facet-nano: model/nano/README.md
SLIDING_LAYERS, SLIDING_KV_HEADS, SLIDING_HEAD_DIM = 5, 2, 64
FULL_LAYERS, FULL_HEAD_DIM, FULL_TURNED = 1, 128, 32
VALUE_BYTES = {"f32": 4, "bf16": 2}
# A gap is compared with those around it, as a chunk takes longer the deeper it is.
NEIGHBOURS = 8


def raise_context(source, target):
    """Copies a GGUF file with another gemma4.context_length: a key's text, type 4 (u32), value."""
    with open(source, "rb") as file:
        data = bytearray(file.read())
    key = b"gemma4.context_length"
    at = data.index(key) + len(key)
    assert struct.unpack_from("<I", data, at)[0] == 4
    struct.pack_into("<I", data, at + 4, CONTEXT_TOKENS)
    with open(target, "wb") as file:
        file.write(data)


def formula_bytes(tokens, form, kv_format):
    """What keys and values of one sequence take: all of it on full layers, on sliding layers the
    window, one key more, and the rows of a step."""
    full_values = 2 * FULL_HEAD_DIM if form == "plain" else FULL_HEAD_DIM + FULL_TURNED
    sliding_tokens = min(tokens, WINDOW_TOKENS + 1 + STEP_TOKENS)
    values = (tokens * FULL_LAYERS * full_values +
              sliding_tokens * SLIDING_LAYERS * SLIDING_KV_HEADS * 2 * SLIDING_HEAD_DIM)
    return values * VALUE_BYTES[kv_format]


def page_bytes(form, kv_format):
    """Of one page over all full layers, and over all sliding layers."""
    full_values = 2 * FULL_HEAD_DIM if form == "plain" else FULL_HEAD_DIM + FULL_TURNED
    sliding_values = SLIDING_KV_HEADS * 2 * SLIDING_HEAD_DIM
    return (PAGE_TOKENS * FULL_LAYERS * full_values * VALUE_BYTES[kv_format],
            PAGE_TOKENS * SLIDING_LAYERS * sliding_values * VALUE_BYTES[kv_format])


class Decode:
    """A request that decodes all the while: when each of its tokens came, and the most pages that
    all requests together held."""

    def __init__(self, client, watch):
        self._watch = watch
        self.pages_used = [0, 0]
        self._call = client.generate(prompt_tokens=[2, 600, 601, 602], tokens_max=CONTEXT_TOKENS // 2)
        self.times = []
        self._first = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        assert self._first.wait(cluster.START_DEADLINE_S)

    def _follow(self):
        try:
            for reply in self._call:
                self.times += [time.monotonic()] * len(reply.tokens)
                self.pages_used = [max(pair) for pair in
                                   zip(self.pages_used, self._watch.pages_used())]
                self._first.set()
        except Exception:  # pylint: disable=broad-except
            if not self._call.cancelled():
                raise

    def close(self):
        self._call.cancel()
        self._thread.join()


class LongContextTest(unittest.TestCase):
    def run_prompt(self, form, kv_format):
        tokens = int(os.environ.get("FACET_LONG_TOKENS", "262000"))
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        model = os.path.join(folder.name, "facet-nano-long.gguf")
        raise_context(cluster.model_path, model)
        worker = cluster.Worker("--threads=2", "--kv_cache_mib=1024", f"--kv_form={form}",
                                f"--kv_format={kv_format}", f"--step_tokens_max={STEP_TOKENS}",
                                f"--context_tokens_max={CONTEXT_TOKENS}", model=model)
        self.addCleanup(worker.stop)
        client = WorkerClient(worker)
        self.addCleanup(client.close)
        watch = LoadWatch(client)
        self.addCleanup(watch.close)
        decode = Decode(client, watch)
        self.addCleanup(decode.close)

        numbers = random.Random(SEED)
        print(f"seed {SEED}")
        prompt = [2] + numbers.choices(range(494, 900), k=tokens - 1)
        began = time.monotonic()
        first_token = None
        for reply in client.generate(prompt_tokens=prompt, tokens_max=ANSWER_TOKENS):
            if reply.tokens and first_token is None:
                first_token = time.monotonic()
        ended = time.monotonic()
        ledger = reply.ledger

        self.assertEqual(ledger.prompt_tokens, tokens)
        self.assertEqual(ledger.generated_tokens, ANSWER_TOKENS)
        per_token_s = (ended - first_token) / (ANSWER_TOKENS - 1)
        print(f"{form} {kv_format}: {tokens} tokens in {first_token - began:.0f} s; then "
              f"{per_token_s * 1e3:.1f} ms a token at that depth, two requests together")
        self.check_memory(form, kv_format, tokens, len(decode.times), decode.pages_used)
        self.check_pauses(decode, began, first_token, tokens)

    def check_pauses(self, decode, began, first_token, tokens):
        """Each step carries a token of the decode and a chunk of the prompt."""
        times = [at for at in decode.times if began < at < first_token]
        chunks = tokens / (STEP_TOKENS - 1)
        print(f"{len(times)} tokens of the other request during {chunks:.0f} chunks")
        # Never more than two chunks between two tokens.
        self.assertGreaterEqual(len(times), chunks / 2)
        gaps = [after - before for before, after in zip(times, times[1:])]
        ratios = []
        for i, gap in enumerate(gaps):
            around = gaps[max(0, i - NEIGHBOURS):i] + gaps[i + 1:i + 1 + NEIGHBOURS]
            ratios.append(gap / statistics.median(around))
        for part in range(5):
            at = min(len(gaps) - 1, part * len(gaps) // 4)
            around = gaps[max(0, at - NEIGHBOURS):at + NEIGHBOURS]
            print(f"at {round(at / len(gaps) * tokens):>7} tokens of depth a chunk takes "
                  f"{statistics.median(around) * 1e3:.0f} ms")
        print(f"longest pause {max(ratios):.2f} times the chunks around it, {max(gaps):.2f} s")
        self.assertLessEqual(max(ratios), 2)

    def check_memory(self, form, kv_format, tokens, decoded, used):
        full_page_bytes, sliding_page_bytes = page_bytes(form, kv_format)
        actual = used[0] * full_page_bytes + used[1] * sliding_page_bytes
        expected = (formula_bytes(tokens + ANSWER_TOKENS, form, kv_format) +
                    formula_bytes(4 + decoded, form, kv_format))
        print(f"keys and values: {used[0]} full pages and {used[1]} sliding pages, "
              f"{actual / 1e6:.1f} MB; the formula says {expected / 1e6:.1f} MB: "
              f"{100 * (actual / expected - 1):+.1f} %")
        self.assertLessEqual(abs(actual / expected - 1), 0.05)

    def test_plain_f32(self):
        self.run_prompt("plain", "f32")

    def test_narrow_bf16(self):
        self.run_prompt("narrow", "bf16")
