"""The exported template against prompts of the reference. Needs jinja2 and numpy."""

import json
import pathlib
import unittest

import prompt
import tasks
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = pathlib.Path(__file__).resolve().parent
CASES = FOLDER.parents[1] / "tests/testdata/text/chat.jsonl"
ARGUMENTS = ("messages", "tools", "enable_thinking", "preserve_thinking", "add_generation_prompt")


class BadConversation(Exception):
    """What the template itself refuses."""


def refuse(message):
    raise BadConversation(message)


class ChatTemplateTest(unittest.TestCase):
    def setUp(self):
        # As transformers sets it up.
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = refuse
        text = (FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
        self.template = environment.from_string(text.rstrip("\n"))

    # Given conversations with systems, tools, thoughts, results and media, expect the reference's
    # prompt, or a refusal where it refuses.
    def test_prompts_are_the_reference_s(self):
        lines = CASES.read_text(encoding="utf-8").splitlines()
        self.assertGreater(len(lines), 50)
        for case in map(json.loads, lines):
            given = {"add_generation_prompt": True}
            given.update({name: case[name] for name in ARGUMENTS if name in case})
            with self.subTest(case["name"]):
                if "error" in case:
                    with self.assertRaises(BadConversation):
                        self.template.render(bos_token="<bos>", **given)
                else:
                    rendered = self.template.render(bos_token="<bos>", **given)
                    self.assertEqual(rendered, case["prompt"])

    # Given questions of each task, expect what training wrote before the answers.
    def test_prompts_are_those_of_training(self):
        for name in set(tasks.ALL) - set(tasks.NEED_BANK):
            for _, _, cases in tasks.make(name, 5, 1, None):
                for case in cases:
                    given = prompt.template_arguments(case.conversation)
                    with self.subTest(name):
                        rendered = self.template.render(bos_token="<bos>", **given)
                        self.assertEqual(rendered, prompt.render(case.conversation))


if __name__ == "__main__":
    unittest.main()
