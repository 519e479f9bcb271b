"""The facet command on files: no server."""
import base64
import json
import os
import struct
import tempfile
import unittest

import cluster
from cluster import json_lines, run_facet

# The bounds of the golden set, as worker/golden_test.cc has them.
LOGPROB_BOUND = 5e-3
LEAD_BOUND = 1e-2


def golden(name):
    return os.path.join(cluster.checkout, "tests/testdata/golden", name)


def read_safetensors(path):
    """All arrays of the file as flat tuples: a JSON header, then the numbers."""
    with open(path, "rb") as file:
        header_size, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_size))
        data = file.read()
    formats = {"F32": "f", "I32": "i", "I64": "q"}
    arrays = {}
    for name, info in header.items():
        if name != "__metadata__" and info["dtype"] in formats:
            begin, end = info["data_offsets"]
            arrays[name] = tuple(value for value, in struct.iter_unpack(
                "<" + formats[info["dtype"]], data[begin:end]))
    return arrays


def with_model(command, lines, *flags, model=None):
    return json_lines(run_facet(command, f"--model={model or cluster.model_path}", *flags,
                                lines=lines))


class TokenizeTest(unittest.TestCase):
    def test_ids_are_the_same_with_the_prompt_around_them(self):
        hello, unicode, empty = with_model("tokenize", [
            {"text": "Hello there"}, {"text": "Grüße 👩‍👩‍👧"}, {"text": ""}])
        self.assertTrue(hello["ids"])
        self.assertTrue(unicode["ids"])
        self.assertEqual(empty["ids"], [])

    def test_special_tokens_are_added_and_parsed_as_asked(self):
        plain, added, parsed, literal = (line["ids"] for line in with_model("tokenize", [
            {"text": "Hello", "add_special": False}, {"text": "Hello", "add_special": True},
            {"text": "<bos>Hello", "parse_special": True},
            {"text": "<bos>Hello", "parse_special": False}]))
        self.assertEqual(added, [2] + plain)
        self.assertEqual(parsed, [2] + plain)
        self.assertGreater(len(literal), len(parsed))

    def test_gguf_and_folder_agree(self):
        lines = [{"text": "w17 w3 w99"}, {"text": "any other text"}]
        self.assertEqual(with_model("tokenize", lines, model=golden("model")),
                         with_model("tokenize", lines, model=golden("model.gguf")))


class RenderTest(unittest.TestCase):
    def test_a_chat_becomes_the_prompt_that_its_ids_spell(self):
        body = {"messages": [{"role": "system", "content": "Be brief."},
                             {"role": "user", "content": "Hello"}]}
        rendered, bare = with_model("render", [body, body | {"add_generation_prompt": False}])
        self.assertTrue(rendered["prompt"].startswith("<bos><|turn>system\nBe brief.<turn|>\n"),
                        rendered["prompt"])
        self.assertIn("<|turn>user\nHello<turn|>\n", rendered["prompt"])
        self.assertTrue(rendered["prompt"].startswith(bare["prompt"]))
        self.assertGreater(len(rendered["prompt"]), len(bare["prompt"]))
        tokenized, = with_model("tokenize", [{"text": rendered["prompt"]}])
        self.assertEqual(tokenized["ids"], rendered["ids"])


class GoldenTest(unittest.TestCase):
    """The reference's numbers (transformers, float32), from both kinds of file."""

    def setUp(self):
        with open(golden("text.json"), encoding="utf-8") as file:
            self.cases = json.load(file)["cases"]
        self.assertGreater(len(self.cases), 4)

    def test_greedy_ids_equal_up_to_the_first_narrow_lead(self):
        for model in ("model.gguf", "model"):
            answers = with_model("generate", [
                {"tokens": case["ids"], "max_tokens": len(case["greedy"]), "ignore_eos": True}
                for case in self.cases], model=golden(model))
            compared = 0
            for case, answer in zip(self.cases, answers, strict=True):
                narrow = [i for i, lead in enumerate(case["greedy_lead"]) if lead < LEAD_BOUND]
                length = narrow[0] if narrow else len(case["greedy"])
                self.assertEqual(answer["tokens"][:length], case["greedy"][:length], model)
                compared += length
            print(f"{model}: {compared} greedy ids equal")
            self.assertGreater(compared, 100)

    def test_top_8_are_the_references(self):
        arrays = read_safetensors(golden("text.safetensors"))
        for model in ("model.gguf", "model"):
            # More than eight, so that two that stand close may change places.
            scores = with_model("score", [{"tokens": case["ids"]} for case in self.cases],
                                "--top=32", model=golden(model))
            worst = 0
            for i, (case, score) in enumerate(zip(self.cases, scores, strict=True)):
                ids, logprobs = arrays[f"case{i}.top_ids"], arrays[f"case{i}.top_logprobs"]
                self.assertEqual(len(ids), 8 * len(case["ids"]))
                self.assertEqual(score["tokens"], case["ids"])
                for place, (token, logprob) in enumerate(zip(ids, logprobs)):
                    of_token = dict(map(tuple, score["top"][place // 8]))
                    self.assertIn(token, of_token, f"{model} case {i} place {place}")
                    worst = max(worst, abs(of_token[token] - logprob))
            print(f"{model}: greatest difference of a log probability {worst:.1e}")
            self.assertLessEqual(worst, LOGPROB_BOUND)

    def test_score_is_consistent(self):
        case = self.cases[-1]
        score, = with_model("score", [{"tokens": case["ids"]}], "--top=4", model=golden("model"))
        self.assertIsNone(score["logprobs"][0])
        self.assertEqual(len(score["logprobs"]), len(case["ids"]))
        self.assertAlmostEqual(score["nll"], -sum(score["logprobs"][1:]), places=3)
        for following, logprob, top in zip(case["ids"][1:], score["logprobs"][1:], score["top"]):
            for token, its_logprob in top:
                if token == following:
                    self.assertEqual(its_logprob, logprob)
        plain, = with_model("score", [{"tokens": case["ids"]}], model=golden("model"))
        self.assertNotIn("top", plain)
        self.assertEqual(plain["logprobs"], score["logprobs"])


class GoldenAdapterTest(unittest.TestCase):
    """The reference's numbers with a LoRA adapter, from both kinds of file."""
    PAIRS = (("model", "lora"), ("model.gguf", "lora.gguf"))

    def setUp(self):
        with open(golden("lora.json"), encoding="utf-8") as file:
            self.cases = json.load(file)["cases"]

    def test_greedy_ids(self):
        lines = [{"tokens": case["ids"], "max_tokens": len(case["greedy"]), "ignore_eos": True}
                 for case in self.cases]
        for model, adapter in self.PAIRS:
            answers = with_model("generate", lines, "--adapter=" + golden(adapter),
                                 model=golden(model))
            for case, answer in zip(self.cases, answers, strict=True):
                narrow = [i for i, lead in enumerate(case["greedy_lead"]) if lead < LEAD_BOUND]
                length = narrow[0] if narrow else len(case["greedy"])
                self.assertGreater(length, 4)
                self.assertEqual(answer["tokens"][:length], case["greedy"][:length], adapter)
            plain = with_model("generate", lines, model=golden(model))
            self.assertNotEqual([line["tokens"] for line in plain],
                                [line["tokens"] for line in answers])

    def test_top_8(self):
        arrays = read_safetensors(golden("lora.safetensors"))
        lines = [{"tokens": case["ids"]} for case in self.cases]
        for model, adapter in self.PAIRS:
            scores = with_model("score", lines, "--top=32", "--adapter=" + golden(adapter),
                                model=golden(model))
            worst = 0
            for i, score in enumerate(scores):
                ids, logprobs = arrays[f"case{i}.top_ids"], arrays[f"case{i}.top_logprobs"]
                for place, (token, logprob) in enumerate(zip(ids, logprobs, strict=True)):
                    of_token = dict(map(tuple, score["top"][place // 8]))
                    worst = max(worst, abs(of_token[token] - logprob))
            print(f"{adapter}: greatest difference of a log probability {worst:.1e}")
            self.assertLessEqual(worst, LOGPROB_BOUND)

    def test_bad_adapters_are_refused(self):
        for path, what in ((golden("nowhere"), "nowhere"), (golden("model.gguf"), "general.type"),
                           (golden("model"), "adapter_config.json")):
            error = run_facet("generate", "--model=" + golden("model"), "--adapter=" + path,
                              expect_failure=True)
            self.assertIn("--adapter", error)
            self.assertIn(what, error)


class GoldenMediaTest(unittest.TestCase):
    """The reference's numbers for prompts with pictures and sounds."""

    @staticmethod
    def mmproj():
        return ("--mmproj=" + golden("mmproj.gguf"),)

    @staticmethod
    def prompts():
        """Each golden prompt as its set, its entry, and a line of input."""
        with open(golden("image.json"), encoding="utf-8") as file:
            images = json.load(file)
        with open(golden("audio.json"), encoding="utf-8") as file:
            audio = json.load(file)

        def encoded(name):
            with open(golden(name), "rb") as file:
                return base64.b64encode(file.read()).decode()

        def image_part(image):
            return {"type": "image_url", "image_url": {
                "url": "data:image/png;base64," + encoded(image["file"]),
                "max_soft_tokens": image["max_soft_tokens"]}}

        for name, golden_set in (("image", images), ("audio", audio)):
            for prompt in golden_set["prompts"]:
                media = [image_part(images["images"][i]) for i in prompt["images"]]
                media += [{"type": "input_audio", "input_audio": {
                    "data": encoded(audio["sounds"][i]["file"]), "format": "wav"}}
                          for i in prompt.get("sounds", [])]
                yield name, prompt, {"tokens": prompt["ids"], "media": media}

    def test_greedy_ids_and_top_8_are_the_references(self):
        prompts = list(self.prompts())
        arrays = {name: read_safetensors(golden(name + ".safetensors"))
                  for name in ("image", "audio")}
        for model, flags in (("model.gguf", self.mmproj()), ("model", ())):
            answers = with_model("generate", [
                dict(line, max_tokens=len(prompt["greedy"]), ignore_eos=True)
                for _, prompt, line in prompts], *flags, model=golden(model))
            scores = with_model("score", [line for _, _, line in prompts], "--top=32", *flags,
                                model=golden(model))
            worst = compared = 0
            for (name, prompt, _), answer, score in zip(prompts, answers, scores, strict=True):
                narrow = [i for i, lead in enumerate(prompt["greedy_lead"]) if lead < LEAD_BOUND]
                length = narrow[0] if narrow else len(prompt["greedy"])
                self.assertEqual(answer["tokens"][:length], prompt["greedy"][:length],
                                 f"{model} {prompt['name']}")
                ids = arrays[name][prompt["name"] + ".top_ids"]
                logprobs = arrays[name][prompt["name"] + ".top_logprobs"]
                for place, (token, logprob) in enumerate(zip(ids, logprobs)):
                    of_token = dict(map(tuple, score["top"][place // 8]))
                    self.assertIn(token, of_token, f"{model} {prompt['name']} place {place}")
                    worst = max(worst, abs(of_token[token] - logprob))
                compared += length
            print(f"{model}: {compared} greedy ids equal, greatest difference of a log "
                  f"probability {worst:.1e}")
            self.assertLessEqual(worst, LOGPROB_BOUND)
            self.assertGreater(compared, 100)

    def test_embed_writes_what_the_decoder_takes(self):
        lines = [line for _, _, line in self.prompts()][-1:]
        with tempfile.TemporaryDirectory() as folder:
            answer, = with_model("embed", lines, *self.mmproj(), f"--output_dir={folder}",
                                 model=golden("model.gguf"))
            arrays = read_safetensors(answer["path"])
        for name, golden_name, golden_set in (("image0.embeddings", "image0.embeddings", "image"),
                                              ("sound0.embeddings", "sound0.embeddings", "audio")):
            expected = read_safetensors(golden(golden_set + ".safetensors"))[golden_name]
            self.assertEqual(len(arrays[name]), len(expected))
            worst = max(abs(a - b) for a, b in zip(arrays[name], expected))
            print(f"{name}: greatest difference {worst:.1e}")
            self.assertLessEqual(worst, 1e-3)

    def test_render_writes_pictures_out(self):
        content = [next(self.prompts())[2]["media"][0], {"type": "text", "text": "Hi"}]
        rendered, = with_model("render", [{"messages": [{"role": "user", "content": content}]}],
                               model=golden("model.gguf"))
        self.assertEqual(rendered["prompt"].count("<|image|>"), 63)
        self.assertEqual(rendered["ids"].count(2042), 63)


class ImportTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="facet-import-")
        self.addCleanup(folder.cleanup)
        self.target = os.path.join(folder.name, "imported.gguf")

    def test_an_exact_copy_scores_the_same(self):
        """Given a folder of safetensors written as F32 GGUF, expect the same bits from both."""
        run_facet("import", golden("model"), self.target, "--quantize=F32", "--name=copy")
        lines = [{"tokens": [2] + list(range(600, 900, 7))}, {"tokens": [2, 1843, 783]}]
        self.assertEqual(with_model("score", lines, "--top=8", model=self.target),
                         with_model("score", lines, "--top=8", model=golden("model")))

    def test_inspect_lists_what_was_written(self):
        run_facet("import", golden("model"), self.target, "--quantize=Q8_0", "--name=copy")
        lines = run_facet("inspect", self.target).splitlines()
        self.assertIn("general.name = copy", lines)
        self.assertTrue(any(line.split()[:2] == ["blk.0.ffn_down.weight", "Q8_0"]
                            for line in lines), lines)
        source = run_facet("inspect", golden("model")).splitlines()
        total = [line for line in lines if " parameters, " in line]
        self.assertEqual(total[0].split(",")[:2],
                         [line for line in source if " parameters, " in line][0].split(",")[:2])

    def test_what_cannot_be_written_is_named(self):
        error = run_facet("import", golden("model"), self.target, "--quantize=Q9",
                          expect_failure=True)
        self.assertIn("Q9", error)
        error = run_facet("import", golden("model"), "/nowhere/x.gguf", expect_failure=True)
        self.assertIn("/nowhere/x.gguf", error)


class BadLineTest(unittest.TestCase):
    def test_the_line_and_the_field_are_named(self):
        good = {"text": "Hello", "max_tokens": 1}
        cases = [("generate", "{\n", ["line 2"]),
                 ("generate", "[]\n", ["line 2", "object"]),
                 ("generate", {}, ["line 2", "tokens", "text", "messages"]),
                 ("generate", {"text": "x", "temperature": -1}, ["line 2", "temperature"]),
                 ("generate", {"text": "x", "max_tokens": "many"}, ["line 2", "max_tokens"]),
                 ("generate", {"text": 5}, ["line 2", "text"]),
                 ("generate", {"tokens": [10**6]}, ["line 2", "tokens"]),
                 ("generate", {"tokens": ["x"]}, ["line 2", "tokens"]),
                 ("generate", {"messages": [{"role": "user"}]}, ["line 2", "messages[0].content"]),
                 ("score", {"tokens": [-1]}, ["line 2", "tokens"]),
                 ("score", {"text": 5}, ["line 2", "text"]),
                 ("tokenize", {"text": 5}, ["line 2", "text"]),
                 ("tokenize", {"text": "x", "add_special": 1}, ["line 2", "add_special"]),
                 ("render", {"messages": 5}, ["line 2", "messages"])]
        for command, line, words in cases:
            with self.subTest(command=command, line=line):
                first = {"messages": [{"role": "user", "content": "x"}]}
                error = run_facet(command, f"--model={cluster.model_path}",
                                  lines=[first if command == "render" else good, line],
                                  expect_failure=True)
                self.assertEqual(error.rstrip("\n").count("\n"), 0, error)
                for word in words:
                    self.assertIn(word, error)

    def test_a_missing_model_or_command_is_one_line(self):
        for command in ("generate", "score", "tokenize", "render"):
            error = run_facet(command, "--model=/nowhere/model.gguf", expect_failure=True)
            self.assertIn("/nowhere/model.gguf", error)
            self.assertEqual(error.rstrip("\n").count("\n"), 0, error)
        self.assertIn("--model", run_facet("generate", expect_failure=True))
        self.assertIn("no command 'sing'", run_facet("sing", expect_failure=True))
