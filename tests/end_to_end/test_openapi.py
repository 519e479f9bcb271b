"""Schemathesis: what /openapi.json says and what the server does agree. For generated requests, good
and bad, there is no answer of 5xx, and none that the document does not have.

FACET_SCHEMATHESIS_EXAMPLES sets how many requests are made up for each operation, beside those that
follow from the document alone; FACET_SEED sets which."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import cluster

CHECKS = ("not_a_server_error,status_code_conformance,content_type_conformance,"
          "response_schema_conformance,unsupported_method,allow_header_conformance")


class OpenApiTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="facet-responses-")
        self.addCleanup(folder.cleanup)
        # A small context, since a generated request may ask for as many tokens as there is room for.
        self.servers = cluster.Cluster(1, ["--context_tokens_max=256"],
                                       [f"--response_dir={folder.name}",
                                        "--allow_adapter_loading"])
        self.addCleanup(self.servers.stop)

    def test_server_and_document_agree(self):
        examples = os.environ.get("FACET_SCHEMATHESIS_EXAMPLES", "10")
        # The same in each run, so that what one finds was changed and not drawn; any other number
        # looks for more.
        seed = os.environ.get("FACET_SEED", "630194243")
        print(f"FACET_SEED={seed} FACET_SCHEMATHESIS_EXAMPLES={examples}")
        url = f"http://127.0.0.1:{self.servers.router.port}"
        with tempfile.TemporaryDirectory(prefix="facet-schemathesis-") as folder:
            done = subprocess.run(
                [pathlib.Path(sys.executable).parent / "st", "run", f"{url}/openapi.json",
                 f"--url={url}", f"--checks={CHECKS}", "--phases=examples,coverage,fuzzing",
                 "--mode=all", f"--max-examples={examples}", f"--seed={seed}",
                 # One, since threads trip over a fault of Python 3.11 before 3.11.5 (gh-106905).
                 "--workers=1",
                 "--request-timeout=60", "--generation-database=none",
                 "--suppress-health-check=all", "--continue-on-failure", "--no-color",
                 "--warnings=off"],
                cwd=folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-8_000:] + done.stderr)
        print(re.search(r"Test cases:.*", done.stdout, re.DOTALL)[0])
        self.assertEqual(self.servers.router.metric("facet_requests_total", outcome="error") or 0, 0)
        self.assertEqual(self.servers.router.warnings(), [])
