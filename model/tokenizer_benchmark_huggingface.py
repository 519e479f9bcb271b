#!/usr/bin/env python3
"""Speed of Hugging Face's `tokenizers` on the texts of tokenizer_benchmark.cc, and whether the ids agree.

    mkdir /tmp/texts
    FACET_TEXT_DIR=/tmp/texts bazel run --config=release //model:tokenizer_benchmark
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers
    /tmp/venv/bin/python model/tokenizer_benchmark_huggingface.py TOKENIZER_JSON /tmp/texts

TOKENIZER_JSON is the model's own tokenizer.json. One thread; the best of three passes, so its cache is warm.
Beside each NAME.txt the benchmark writes NAME.ids, one id a line, with which the ids are compared.
"""

import os
import pathlib
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer  # noqa: E402


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    tokenizer = Tokenizer.from_file(sys.argv[1])
    different = False
    for path in sorted(pathlib.Path(sys.argv[2]).glob("*.txt")):
        text = path.read_bytes().decode()
        best = float("inf")
        for _ in range(3):
            begin = time.perf_counter()
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            best = min(best, time.perf_counter() - begin)
        ours = [int(line) for line in path.with_suffix(".ids").read_text().split()]
        different |= ids != ours
        rate = path.stat().st_size / best / 1e6
        print(f"{path.stem:24} {rate:7.2f} MB/s  {len(ids):8} ids  {'equal' if ids == ours else 'DIFFERENT'}")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
