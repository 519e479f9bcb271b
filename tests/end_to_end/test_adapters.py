"""LoRA adapters of the test's own through the OpenAI SDK, compared with `facet generate`."""
import concurrent.futures
import json
import os
import shutil
import tempfile
import unittest

import openai

import cluster
from adapters import random_adapter
from cluster import json_lines, run_facet
from prompts import chat_prompts

TOKENS = 24


def setUpModule():
    global folder, paths
    holder = tempfile.TemporaryDirectory(prefix="facet-adapters-")
    unittest.addModuleCleanup(holder.cleanup)
    folder = holder.name
    paths = {name: random_adapter(os.path.join(folder, "made", name), cluster.model_path, seed=seed)
             for seed, name in enumerate(("one", "two"))}


def prompts(count):
    return [[{"role": "user", "content": text}] for text in chat_prompts(count)]


def expected(questions, adapter):
    """What `facet generate` answers to each, in a process of its own."""
    flags = [f"--adapter={paths[adapter]}"] if adapter else []
    lines = [{"messages": question, "max_tokens": TOKENS, "ignore_eos": True}
             for question in questions]
    return json_lines(run_facet("generate", f"--model={cluster.model_path}", "--threads=1", *flags,
                                lines=lines))


class AdapterTest(unittest.TestCase):
    def start(self, workers=2, worker_flags=(), router_flags=("--allow_adapter_loading",)):
        self.servers = cluster.Cluster(workers, worker_flags, router_flags)
        self.addCleanup(self.servers.stop)
        self.client = openai.OpenAI(base_url=f"http://127.0.0.1:{self.servers.router.port}/v1",
                                    api_key="unused", max_retries=0, timeout=60)
        self.addCleanup(self.client.close)
        self.base = self.client.models.list().data[0].id

    def name_of(self, adapter):
        return f"{self.base}:{adapter}" if adapter else self.base

    def ask(self, question, adapter, **fields):
        return self.client.chat.completions.create(
            model=self.name_of(adapter), messages=question, temperature=0, max_tokens=TOKENS,
            extra_body={"ignore_eos": True}, **fields)

    def load(self, name, path=None):
        return self.servers.router.request(
            "POST", "/v1/load_lora_adapter",
            json.dumps({"lora_name": name, "lora_path": path or paths[name]}))

    def unload(self, name):
        return self.servers.router.request("POST", "/v1/unload_lora_adapter",
                                           json.dumps({"lora_name": name}))

    def test_answers_are_those_of_the_command_line(self):
        """Given two adapters and none in one batch, expect each answer as in its own run."""
        self.start()
        for name in paths:
            self.assertEqual(self.load(name)[0], 200)
        self.assertEqual([model.id for model in self.client.models.list().data],
                         [self.base, f"{self.base}:one", f"{self.base}:two"])
        questions = prompts(4)
        wanted = {adapter: [line["text"] for line in expected(questions, adapter)]
                  for adapter in ("one", "two", "")}
        self.assertEqual(len(set(map(tuple, wanted.values()))), 3, "adapters change nothing")
        ids = [self.servers.router.post("/tokenize", {"messages": question})["tokens"]
               for question in questions]

        def text(job):
            adapter, i = job
            answer = self.client.completions.create(
                model=self.name_of(adapter), prompt=ids[i], temperature=0, max_tokens=TOKENS,
                extra_body={"ignore_eos": True})
            self.assertEqual(answer.model, self.name_of(adapter))
            return answer.choices[0].text

        jobs = [(adapter, i) for i in range(len(questions)) for adapter in wanted]
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
            together = list(pool.map(text, jobs))
        for (adapter, i), answer in zip(jobs, together, strict=True):
            self.assertEqual(answer, wanted[adapter][i], f"adapter '{adapter}', prompt {i}")

    def test_unknown_and_unloaded_adapters_are_not_found(self):
        self.start(workers=1)
        with self.assertRaises(openai.NotFoundError) as raised:
            self.ask(prompts(1)[0], "one")
        self.assertEqual(raised.exception.code, "model_not_found")
        self.assertEqual(self.load("one")[0], 200)
        self.ask(prompts(1)[0], "one")
        self.assertEqual(self.unload("one")[0], 200)
        with self.assertRaises(openai.NotFoundError):
            self.ask(prompts(1)[0], "one")

    def test_bad_files_are_refused_with_their_reason(self):
        self.start(workers=1)

        def broken(name, change_config=None, change_file=None):
            path = shutil.copytree(paths["one"], os.path.join(folder, "broken", name))
            config, tensors = (os.path.join(path, file) for file in
                               ("adapter_config.json", "adapter_model.safetensors"))
            if change_config:
                with open(config, encoding="utf-8") as file:
                    fields = json.load(file)
                fields.update(change_config)
                with open(config, "w", encoding="utf-8") as file:
                    json.dump(fields, file)
            if change_file:
                with open(tensors, "rb") as file:
                    data = file.read()
                with open(tensors, "wb") as file:
                    file.write(change_file(data))
            return path

        cases = (
            ("rank", {"r": 4}, None, "'r'"), ("rank0", {"r": 0}, None, "'r'"),
            ("large", {"r": 100_000}, None, "'r'"),
            ("type", {"peft_type": "IA3"}, None, "peft_type"),
            ("dora", {"use_dora": True}, None, "use_dora"), ("bias", {"bias": "all"}, None, "bias"),
            ("modules", {"target_modules": ["lm_head"]}, None, "lm_head"),
            ("cut", None, lambda data: data[:len(data) // 2], "truncated"),
            ("header", None, lambda data: data[:100], "header"),
            ("empty", None, lambda data: b"", "safetensors"),
            ("length", None, lambda data: b"\xff" * 8 + data[8:], "header"),
            ("nan", None, lambda data: data[:-4] + b"\0\0\xc0\x7f", "not finite"),
            ("names", None, lambda data: data.replace(b"lora_A", b"lora_X", 1), "is not A or B"),
            ("half", None, lambda data: data.replace(b"layers.0.mlp.down_proj.lora_A",
                                                     b"layers.1.mlp.down_proj.lora_A", 1), "lora_"))
        for name, config, file, what in cases:
            with self.subTest(name=name):
                status, _, text = self.load("bad", broken(name, config, file))
                self.assertEqual(status, 400, text)
                error = json.loads(text)["error"]
                self.assertEqual(error["param"], "lora_path")
                self.assertIn(what, error["message"])
        self.assertEqual(self.load("bad", os.path.join(folder, "nowhere"))[0], 404)
        self.assertEqual(len(self.client.models.list().data), 1)

    def test_a_worker_killed_in_mid_answer_costs_nothing(self):
        self.start()
        self.assertEqual(self.load("one")[0], 200)
        question = prompts(1)[0]
        whole = self.ask(question, "one").choices[0].message.content
        for victim in (0, 1):
            pieces = []
            for chunk in self.ask(question, "one", stream=True):
                pieces.append(chunk.choices[0].delta.content or "")
                if len(pieces) == 3 and self.servers.workers[victim].exit_code is None:
                    self.servers.workers[victim].kill()
            self.assertEqual("".join(pieces), whole)
            if victim == 0:
                port = self.servers.workers[0].port
                self.servers.workers[0] = cluster.Worker(port=port)
                self.servers.router.wait_workers(2)
                self.assertEqual(self.load("one")[0], 200)

    def test_the_folder_of_wanted_adapters(self):
        """Given a folder, expect workers to have what is in it, also one that is started again."""
        wanted = os.path.join(folder, "wanted")
        os.mkdir(wanted)
        os.symlink(paths["one"], os.path.join(wanted, "one"))
        self.start(workers=1, worker_flags=[f"--adapter_dir={wanted}"],
                   router_flags=["--allow_adapter_loading", f"--adapter_dir={wanted}"])
        question = prompts(1)[0]
        first = self.ask(question, "one").choices[0].message.content
        self.assertEqual(self.load("two")[0], 200)
        second = self.ask(question, "two").choices[0].message.content
        port = self.servers.workers[0].port
        self.servers.workers[0].kill()
        # Without the flag: the router alone sees to it.
        self.servers.workers[0] = cluster.Worker(port=port)
        cluster.wait_until(lambda: len(self.client.models.list().data) == 3, "both adapters")
        self.assertEqual(self.ask(question, "one").choices[0].message.content, first)
        self.assertEqual(self.ask(question, "two").choices[0].message.content, second)

    def test_loading_needs_leave(self):
        self.start(workers=1, router_flags=())
        status, _, text = self.load("one")
        self.assertEqual(status, 403)
        self.assertIn("--allow_adapter_loading", json.loads(text)["error"]["message"])
