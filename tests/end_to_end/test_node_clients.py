"""The OpenAI SDK for Node and the AI SDK's OpenAI-compatible provider (folder node/)."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import unittest

import scripted

FOLDER = pathlib.Path(__file__).parent / "node"


def packages():
    """A folder outside the checkout with node/'s scripts and the packages of its lock file."""
    if shutil.which("npm") is None:
        raise AssertionError("npm is missing: run ops/setup --test")
    lock = (FOLDER / "package-lock.json").read_bytes()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / "facet" / f"node-{hashlib.sha256(lock).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    for file in FOLDER.iterdir():
        shutil.copy(file, folder)
    if not (folder / "ready").exists():
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                              cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"npm cannot fetch the packages of package-lock.json: {done.stderr}")
        (folder / "ready").touch()
    return folder


class NodeClientsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = packages()
        servers = scripted.start()
        cls.addClassCleanup(servers.stop)
        cls.script = json.dumps({
            "url": f"http://127.0.0.1:{servers.router.port}", "question": scripted.QUESTION,
            "thought": scripted.THOUGHT, "text": scripted.TEXT, "tool": scripted.TOOL,
            "arguments": scripted.ARGUMENTS, "description": scripted.DESCRIPTION,
            "schema": scripted.SCHEMA, "result": scripted.RESULT, "answer": scripted.ANSWER})

    def run_script(self, name):
        done = subprocess.run(["node", name, self.script], cwd=self.folder, capture_output=True,
                              text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_openai_sdk(self):
        self.run_script("openai_sdk.mjs")

    def test_ai_sdk(self):
        self.run_script("ai_sdk.mjs")
