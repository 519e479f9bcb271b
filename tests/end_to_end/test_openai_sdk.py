"""The OpenAI Python SDK against a router and two workers."""
import asyncio
import concurrent.futures
import statistics
import time
import unittest

import openai

import cluster
from prompts import chat_prompts
from worker_rpc import LoadWatch, WorkerClient

GREETING = [{"role": "user", "content": "Hello"}]
# Words of a wild kind from any model: hot, without <end>, and dear to repeat. Where two answers are
# equal, it is no chance.
WILD = {"temperature": 2, "frequency_penalty": 2, "presence_penalty": 2, "max_tokens": 80,
        "extra_body": {"ignore_eos": True}}
# An answer that goes on until the test ends it, with a chunk for each token.
ENDLESS = {"max_tokens": 3000, "logprobs": True, "extra_body": {"ignore_eos": True}}


def setUpModule():
    global servers, client, model
    servers = cluster.Cluster()
    unittest.addModuleCleanup(servers.stop)
    client = openai.OpenAI(base_url=base_url(), api_key="unused", max_retries=0, timeout=60)
    unittest.addModuleCleanup(client.close)
    model = client.models.list().data[0].id


def base_url():
    return f"http://127.0.0.1:{servers.router.port}/v1"


def chat(messages=None, **fields):
    return client.chat.completions.create(
        **{"model": model, "messages": messages or GREETING, "temperature": 0, **fields})


def complete(prompt, **fields):
    return client.completions.create(
        **{"model": model, "prompt": prompt, "temperature": 0, **fields})


def sampled(**fields):
    return chat(**WILD, **fields).choices[0].message.content


def streamed_text(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


class ChatTest(unittest.TestCase):
    def test_whole_answer_has_text_and_usage(self):
        answer = chat()
        choice = answer.choices[0]
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.model, model)
        self.assertEqual(choice.message.role, "assistant")
        self.assertTrue(choice.message.content)
        self.assertEqual(choice.finish_reason, "stop")
        self.assertGreater(answer.usage.prompt_tokens, 1)
        self.assertGreater(answer.usage.completion_tokens, 1)
        self.assertEqual(answer.usage.total_tokens,
                         answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_stream_is_the_whole_answer_in_pieces(self):
        chunks = list(chat(stream=True))
        self.assertEqual(streamed_text(chunks), chat().choices[0].message.content)
        self.assertGreater(len(chunks), 3)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual([c.choices[0].finish_reason for c in chunks],
                         [None] * (len(chunks) - 1) + ["stop"])
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        self.assertTrue(all(chunk.usage is None for chunk in chunks))

    def test_stream_gives_usage_when_asked(self):
        chunks = list(chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.model_dump(), chat().usage.model_dump())
        self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))

    def test_stop_string_cuts_the_answer(self):
        whole = chat().choices[0].message.content
        stop = whole[3:6]
        cut = whole[:whole.index(stop)]
        for stops in (stop, [stop], ["never in an answer", stop]):
            with self.subTest(stop=stops):
                answer = chat(stop=stops)
                self.assertEqual(answer.choices[0].message.content, cut)
                self.assertEqual(answer.choices[0].finish_reason, "stop")
                self.assertLess(answer.usage.completion_tokens, chat().usage.completion_tokens)
                self.assertEqual(streamed_text(chat(stop=stops, stream=True)), cut)

    def test_max_tokens_ends_with_length(self):
        for field in ("max_tokens", "max_completion_tokens"):
            answer = chat(**{field: 3})
            self.assertEqual(answer.choices[0].finish_reason, "length")
            self.assertEqual(answer.usage.completion_tokens, 3)

    def test_greedy_answers_are_equal(self):
        self.assertEqual(len({chat().choices[0].message.content for _ in range(4)}), 1)

    def test_seed_makes_sampled_answers_equal(self):
        self.assertEqual(sampled(seed=7), sampled(seed=7))
        self.assertNotEqual(sampled(seed=7), sampled(seed=8))

    def test_two_choices_differ_and_share_the_seed(self):
        answer = chat(n=2, seed=3, **WILD)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1])
        first, second = (choice.message.content for choice in answer.choices)
        self.assertNotEqual(first, second)
        self.assertEqual(first, sampled(seed=3))
        self.assertEqual(answer.usage.completion_tokens, 2 * WILD["max_tokens"])
        texts = ["", ""]
        for chunk in chat(n=2, seed=3, stream=True, **WILD):
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        self.assertEqual(texts, [first, second])

    def test_logprobs_are_sorted_and_greedy_takes_the_best(self):
        answer = chat(logprobs=True, top_logprobs=5)
        entries = answer.choices[0].logprobs.content
        # All but <end>, which is no text.
        self.assertEqual(len(entries), answer.usage.completion_tokens - 1)
        for entry in entries:
            top = [alternative.logprob for alternative in entry.top_logprobs]
            self.assertEqual(len(top), 5)
            self.assertEqual(top, sorted(top, reverse=True))
            self.assertLessEqual(max(top), 0)
            self.assertEqual((entry.token, entry.logprob),
                             (entry.top_logprobs[0].token, entry.top_logprobs[0].logprob))
        streamed = [entry for chunk in chat(logprobs=True, top_logprobs=5, stream=True)
                    if chunk.choices[0].logprobs
                    for entry in chunk.choices[0].logprobs.content]
        self.assertEqual(streamed, entries)

    def test_system_and_earlier_turns_reach_the_model(self):
        turns = [{"role": "system", "content": "You are terse."},
                 {"role": "user", "content": "Hello"},
                 {"role": "assistant", "content": "Hello! How can I help you?"},
                 {"role": "user", "content": [{"type": "text", "text": "What is 2 + 2?"}]}]
        answer = chat(turns)
        self.assertTrue(answer.choices[0].message.content)
        counts = [chat(turns[first:], max_tokens=1).usage.prompt_tokens for first in (0, 1, 3)]
        self.assertEqual(counts, sorted(set(counts), reverse=True))

    def test_any_unicode_is_taken_and_given(self):
        text = "Grüße, 世界! 👩‍👩‍👧 \u0000 \u202e עברית"
        # The model's own pieces give back each character, in a stream too: bytes that make half a
        # character are never sent.
        echoed = complete(text, echo=True, max_tokens=1).choices[0].text
        self.assertTrue(echoed.startswith(text), echoed)
        turns = [{"role": "user", "content": text}]
        whole = chat(turns, **WILD, seed=5).choices[0].message.content
        pieces = streamed_text(chat(turns, **WILD, seed=5, stream=True))
        self.assertEqual(pieces, whole)


class CompletionTest(unittest.TestCase):
    def test_whole_answer(self):
        answer = complete("Hello", max_tokens=5, extra_body={"ignore_eos": True})
        self.assertEqual(answer.object, "text_completion")
        self.assertTrue(answer.choices[0].text)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 5)

    def test_stream_is_the_whole_answer_in_pieces(self):
        chunks = list(complete("Hello", max_tokens=20, stream=True,
                               stream_options={"include_usage": True}))
        whole = complete("Hello", max_tokens=20)
        text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
        self.assertEqual(text, whole.choices[0].text)
        self.assertEqual(chunks[-1].usage.model_dump(), whole.usage.model_dump())

    def test_prompts_of_ids_and_lists(self):
        ids = servers.router.post("/tokenize", {"prompt": "Hello"})["tokens"]
        by_text = complete("Hello", max_tokens=8).choices[0].text
        self.assertEqual(complete(ids, max_tokens=8).choices[0].text, by_text)
        both = complete(["Hello", "Hello"], max_tokens=8)
        self.assertEqual([choice.text for choice in both.choices], [by_text] * 2)

    def test_logprobs_have_offsets_into_the_text(self):
        answer = complete("Hello", max_tokens=6, logprobs=2)
        logprobs = answer.choices[0].logprobs
        self.assertEqual(len(logprobs.tokens), answer.usage.completion_tokens)
        self.assertEqual(len(logprobs.token_logprobs), len(logprobs.tokens))
        self.assertEqual(logprobs.text_offset, sorted(logprobs.text_offset))
        for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs,
                                       logprobs.top_logprobs):
            self.assertEqual(top[token], logprob)


class ModelsTest(unittest.TestCase):
    def test_list_and_retrieve(self):
        models = client.models.list().data
        self.assertEqual(len(models), 1)
        self.assertEqual(client.models.retrieve(model).id, model)
        with self.assertRaises(openai.NotFoundError):
            client.models.retrieve("another-model")


class ErrorTest(unittest.TestCase):
    def assert_bad_request(self, param, call):
        with self.assertRaises(openai.BadRequestError) as raised:
            call()
        self.assertEqual(raised.exception.param, param)
        self.assertEqual(raised.exception.type, "invalid_request_error")
        self.assertTrue(raised.exception.body["message"])

    def test_wrong_values_name_the_field(self):
        bad = [("temperature", "hot", "temperature"), ("temperature", -1, "temperature"),
               ("temperature", 2.1, "temperature"), ("temperature", True, "temperature"),
               ("top_p", 1.5, "top_p"), ("top_p", -0.1, "top_p"),
               ("max_tokens", -1, "max_tokens"), ("max_tokens", 0, "max_tokens"),
               ("max_tokens", 1.5, "max_tokens"), ("max_tokens", "5", "max_tokens"),
               ("n", 0, "n"), ("n", -3, "n"), ("n", 10**6, "n"),
               ("seed", "x", "seed"), ("stop", 5, "stop"), ("stop", [1], "stop[0]"),
               ("stream", "yes", "stream"), ("presence_penalty", 3, "presence_penalty"),
               ("frequency_penalty", -3, "frequency_penalty"),
               ("logit_bias", {"x": 1}, "logit_bias"), ("top_logprobs", 30, "top_logprobs"),
               ("messages", "Hello", "messages"), ("messages", [], "messages"),
               ("messages", [5], "messages[0]"),
               ("messages", [{"role": "king", "content": "x"}], "messages[0].role"),
               ("messages", [{"role": "user", "content": 5}], "messages[0].content"),
               ("messages", [{"role": "user"}], "messages[0].content"),
               ("tools", [{"type": "function"}], "tools[0].function"),
               ("response_format", {"type": "xml"}, "response_format.type")]
        for field, value, param in bad:
            with self.subTest(field=field, value=value):
                self.assert_bad_request(param, lambda: chat(extra_body={field: value}))

    def test_numbers_that_json_has_not(self):
        """Given NaN, which is no JSON, and what is no finite number, expect the SDK's error."""
        for value, param in (("NaN", None), ("Infinity", None), ("1e999", "temperature"),
                             ("-1e999", "temperature")):
            with self.subTest(value=value):
                body = f'{{"messages":[{{"role":"user","content":"x"}}],"temperature":{value}}}'
                self.assert_bad_request(param, lambda: self.post_raw(body))

    def test_malformed_bodies(self):
        for body in ("", "{", "[]", "5", '{"messages":', '{"messages":[]}}', "\u0000",
                     '{"a":"\ud800"}', "[" * 100_000,
                     '{"messages":[{"role":"user","content":"\\ud800"}]}'):
            with self.subTest(body=body[:60]):
                self.assert_bad_request(None, lambda: self.post_raw(body))

    def post_raw(self, body):
        client.post("/chat/completions", cast_to=object,
                    content=body.encode("utf-8", "surrogatepass"),
                    options={"headers": {"Content-Type": "application/json"}})

    def test_too_many_tokens(self):
        long = "Hello " * 20_000
        self.assert_bad_request("messages", lambda: chat([{"role": "user", "content": long}]))
        self.assert_bad_request("prompt", lambda: complete(long))
        self.assert_bad_request("messages", lambda: chat(max_tokens=10**6))

    def test_unknown_model(self):
        for call in (lambda: chat(model="another-model"),
                     lambda: complete("Hello", model="another-model")):
            with self.assertRaises(openai.NotFoundError) as raised:
                call()
            self.assertEqual(raised.exception.param, "model")
            self.assertEqual(raised.exception.code, "model_not_found")

    def test_unknown_path_and_method(self):
        with self.assertRaises(openai.NotFoundError):
            client.embeddings.create(model=model, input="x")
        self.assertEqual(servers.router.request("GET", "/v1/chat/completions")[0], 405)


class RefusalTest(unittest.TestCase):
    """What the SDK raises when a server cannot take a request. It would try again by itself."""

    def serve(self, workers, *flags):
        router = cluster.Router(workers, *flags)
        self.addCleanup(router.stop)
        return router, client.with_options(base_url=f"http://127.0.0.1:{router.port}/v1")

    def ask(self, its_client, **fields):
        return its_client.chat.completions.create(
            **{"model": model, "messages": GREETING, "max_tokens": 200,
               "extra_body": {"ignore_eos": True}, **fields})

    def test_too_large_a_body(self):
        router, its_client = self.serve(servers.workers, "--request_body_bytes_max=1000")
        router.wait_ready()
        with self.assertRaises(openai.APIStatusError) as raised:
            self.ask(its_client, user="x" * 2000)
        self.assertEqual(raised.exception.status_code, 413)

    def test_a_full_worker(self):
        """Given more than a worker takes, expect the rest to wait and to be answered; given no room
        to wait either, expect errors that say when to try again."""
        worker = cluster.Worker("--running_requests_max=1", "--waiting_requests_max=1")
        self.addCleanup(worker.stop)
        for flags in ([], ["--queue_answers_max=1"]):
            router, its_client = self.serve([worker], *flags)
            router.wait_ready()
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                answers = [pool.submit(self.ask, its_client) for _ in range(8)]
                errors = [answer.exception() for answer in answers]
            refused = [error for error in errors if error]
            self.assertGreater(errors.count(None), 0)
            self.assertEqual(len(refused) > 0, len(flags) > 0, refused)
            for error in refused:
                self.assertIsInstance(error, openai.InternalServerError)
                self.assertEqual(error.status_code, 503)
                self.assertGreaterEqual(int(error.response.headers["Retry-After"]), 1)

    def test_no_worker(self):
        worker = cluster.Worker()
        router, its_client = self.serve([worker], "--worker_wait_ms=100")
        router.wait_ready()
        worker.kill()
        with self.assertRaises(openai.InternalServerError) as raised:
            self.ask(its_client)
        self.assertEqual(raised.exception.status_code, 503)
        self.assertGreaterEqual(int(raised.exception.response.headers["Retry-After"]), 1)


class ConcurrencyTest(unittest.TestCase):
    def test_32_streams_equal_the_lone_runs(self):
        """Given 32 streams at the same time, expect each to have the text that it has alone."""
        bodies = [{"messages": [{"role": "user", "content": prompt}], "temperature": 0,
                   "max_tokens": 48} for prompt in chat_prompts(32)]
        alone = [chat(**body).choices[0].message.content for body in bodies]

        async def one(async_client, body):
            text, tokens = "", 0
            async for chunk in await async_client.chat.completions.create(
                    model=model, stream=True, stream_options={"include_usage": True}, **body):
                text += chunk.choices[0].delta.content or "" if chunk.choices else ""
                tokens = chunk.usage.completion_tokens if chunk.usage else tokens
            return text, tokens

        async def together():
            async with openai.AsyncOpenAI(base_url=base_url(), api_key="unused",
                                          max_retries=0, timeout=60) as async_client:
                begin = time.monotonic()
                answers = await asyncio.gather(*(one(async_client, body) for body in bodies))
                return answers, time.monotonic() - begin

        answers, seconds = asyncio.run(together())
        self.assertEqual([text for text, _ in answers], alone)
        tokens = sum(count for _, count in answers)
        print(f"32 streams: {tokens} tokens in {seconds:.2f} s, {tokens / seconds:.0f} tokens/s")


class DisconnectTest(unittest.TestCase):
    TRIES = 8
    # Watch tells at most 50 times a second, so its news may be this old.
    WATCH_INTERVAL_S = 0.020
    BOUND_S = 0.050

    def setUp(self):
        self.watches = []
        for worker in servers.workers:
            rpc = WorkerClient(worker)
            self.addCleanup(rpc.close)
            watch = LoadWatch(rpc)
            self.addCleanup(watch.close)
            watch.wait_running(0)
            self.watches.append(watch)

    def running(self):
        return servers.router.metric("facet_requests_running")

    def measure(self):
        """Closes a stream in the middle: the seconds until its worker has let go of it, and those
        between two tokens before."""
        stream = chat(stream=True, **ENDLESS)
        times = []
        for chunk in stream:
            times.append(time.monotonic())
            if len(times) == 30:
                break
        self.assertEqual(self.running(), 1)
        steps = [after - before for before, after in zip(times[5:], times[6:])]
        self.assertEqual(sum(watch.running() for watch in self.watches), 1)
        closed = time.monotonic()
        stream.close()
        for watch in self.watches:
            watch.wait_running(0)
        return time.monotonic() - closed, max(steps)

    def test_worker_lets_go_within_a_step_and_50_ms(self):
        """Given a stream that the client closes, expect the worker's running count at zero soon.

        Other work on the machine may delay any one try; a missed cancel delays them all."""
        tries = [self.measure() for _ in range(self.TRIES)]
        for latency, step in tries:
            print(f"disconnect: nothing runs after {latency * 1e3:.1f} ms, "
                  f"longest step before {step * 1e3:.1f} ms")
        print(f"disconnect: median {statistics.median(t[0] for t in tries) * 1e3:.1f} ms")
        self.assertLess(statistics.median(latency - step for latency, step in tries),
                        self.BOUND_S + self.WATCH_INTERVAL_S)
        self.assertLess(max(latency for latency, _ in tries), 2)
        cluster.wait_until(lambda: self.running() == 0, "no request to run at the router", 2)

    def test_32_disconnects_leave_nothing_behind(self):
        """Given 32 streams closed in the middle, expect nothing to run and the server to serve."""
        streams = [chat(stream=True, **ENDLESS) for _ in range(32)]
        for stream in streams:
            next(iter(stream))
        for stream in streams:
            stream.close()
        for watch in self.watches:
            watch.wait_running(0)
        cluster.wait_until(lambda: self.running() == 0, "no request to run at the router", 5)
        self.assertTrue(chat().choices[0].message.content)
