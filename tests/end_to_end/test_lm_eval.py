"""lm-eval over local-completions: log likelihoods are those of `facet score`, generations those of
the server asked directly."""
import json
import os
import pathlib
import tempfile
import unittest

os.environ["HF_HUB_OFFLINE"] = "1"
from lm_eval import simple_evaluate  # noqa: E402
from lm_eval.models.openai_completions import LocalCompletionsAPI  # noqa: E402

import cluster  # noqa: E402

QUESTIONS = [
    {"question": "What day comes after Monday?", "choices": [" Tuesday", " Friday"], "answer": 0},
    {"question": "What is 2 + 2?", "choices": [" 5", " 4", " the number four"], "answer": 1},
    {"question": "Grüße, 世界!", "choices": [" Hello", " 👩‍👩‍👧"], "answer": 0},
]


def setUpModule():
    global servers, model
    servers = cluster.Cluster()
    unittest.addModuleCleanup(servers.stop)
    model = servers.router.get("/v1/models")["data"][0]["id"]


class LmEvalTest(unittest.TestCase):
    def evaluate(self, folder, **task):
        """The samples of one task over QUESTIONS."""
        data = pathlib.Path(folder) / "questions.jsonl"
        data.write_text("".join(json.dumps(line) + "\n" for line in QUESTIONS), encoding="utf-8")
        url = f"http://127.0.0.1:{servers.router.port}/v1/completions"
        lm = LocalCompletionsAPI(model=model, base_url=url, tokenizer_backend="remote",
                                 num_concurrent=2, max_length=1024)
        results = simple_evaluate(
            lm, tasks=[{"task": "questions", "dataset_path": "json", "test_split": "test",
                        "dataset_kwargs": {"data_files": {"test": str(data)},
                                           "cache_dir": str(pathlib.Path(folder) / "cache")},
                        "doc_to_text": "{{question}}", **task}],
            log_samples=True, bootstrap_iters=0)
        return results["samples"]["questions"]

    def test_loglikelihood(self):
        with tempfile.TemporaryDirectory(prefix="facet-lm-eval-") as folder:
            samples = self.evaluate(
                folder, output_type="multiple_choice", doc_to_choice="{{choices}}",
                doc_to_target="{{answer}}", target_delimiter="",
                metric_list=[{"metric": "acc"}])
        for question, sample in zip(QUESTIONS, samples, strict=True):
            context = self.ids(question["question"])
            whole = [self.ids(question["question"] + choice) for choice in question["choices"]]
            scores = cluster.json_lines(cluster.run_facet(
                "score", f"--model={cluster.model_path}", "--kv_cache_mib=256",
                lines=[{"tokens": ids} for ids in whole]))
            for (loglikelihood, _), score in zip(sample["filtered_resps"], scores, strict=True):
                self.assertAlmostEqual(float(loglikelihood), sum(score["logprobs"][len(context):]),
                                       places=3)

    def test_generation(self):
        with tempfile.TemporaryDirectory(prefix="facet-lm-eval-") as folder:
            samples = self.evaluate(folder, output_type="generate_until", doc_to_target="{{answer}}",
                                    generation_kwargs={"until": ["\n"], "max_gen_toks": 12},
                                    metric_list=[{"metric": "exact_match"}])
        for question, sample in zip(QUESTIONS, samples, strict=True):
            answer = servers.router.post("/v1/completions", {
                "prompt": self.ids(question["question"]), "temperature": 0, "max_tokens": 12,
                "stop": ["\n"]})
            self.assertEqual(sample["resps"][0][0], answer["choices"][0]["text"])

    @staticmethod
    def ids(text):
        return servers.router.post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
