#!/usr/bin/env python3
"""Asks facet-nano held-out questions of each kind and prints how many it answers exactly right.

  evaluate.py --folder FOLDER/model               the reference (PyTorch, transformers)
  evaluate.py --endpoint http://127.0.0.1:9379    a running Facet cluster; plain Python, no PyTorch

Both ask the same questions, greedily. An answer counts only if it is the expected text, character
for character.
"""

import argparse
import collections
import concurrent.futures
import json
import math
import os
import pathlib
import sys
import urllib.error
import urllib.request

import corpus

TOKEN_COUNT_MAX = 160  # the longest answer, the months, takes 94
REQUEST_TIMEOUT_S = 120
WRONG_SHOWN = 3
HISTORY = "with history"


def main():
    arguments = parse_arguments()
    tasks = make_tasks(arguments)
    cases = [case for _, _, task_cases in tasks for case in task_cases]
    answer = endpoint_answers if arguments.endpoint else reference_answers
    answers = answer(arguments, [case.messages for case in cases])
    rows = score(tasks, answers)
    print_table(rows)
    if arguments.json:
        write_json(pathlib.Path(arguments.json), rows)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--folder", help="Hugging Face folder, for the reference implementation")
    source.add_argument(
        "--endpoint", help="address of a running cluster, such as http://127.0.0.1:9379"
    )
    parser.add_argument("--count", type=int, default=200, help="questions for each kind and split")
    parser.add_argument("--kinds", help="comma-separated kinds; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--parallel", type=int, default=8, help="requests in flight at the endpoint"
    )
    parser.add_argument("--json", help="also write the table, with the wrong answers, to this file")
    arguments = parser.parse_args()
    all_kinds = list(corpus.KINDS) + [HISTORY]
    arguments.kinds = arguments.kinds.split(",") if arguments.kinds else all_kinds
    unknown = [kind for kind in arguments.kinds if kind not in all_kinds]
    if unknown:
        parser.error(f"--kinds: no kind {', '.join(unknown)}; there are {', '.join(all_kinds)}")
    if not 1 <= arguments.count <= 100_000:
        parser.error(f"--count {arguments.count}: must be 1 to 100000")
    if not 1 <= arguments.parallel <= 256:
        parser.error(f"--parallel {arguments.parallel}: must be 1 to 256")
    return arguments


def make_tasks(arguments):
    """(kind, split, cases) for each row of the table."""
    tasks = []
    for kind in arguments.kinds:
        if kind == HISTORY:
            cases = corpus.evaluation_cases_with_history(arguments.count, arguments.seed)
            tasks.append((kind, corpus.UNSEEN, cases))
            continue
        for split in (corpus.UNSEEN, corpus.REWORDED):
            tasks.append(
                (kind, split, corpus.evaluation_cases(kind, split, arguments.count, arguments.seed))
            )
    return tasks


def reference_answers(arguments, conversations):
    from reference import Reference  # needs PyTorch, which the endpoint mode does without

    show = progress_of(len(conversations))
    return Reference(arguments.folder).answers(conversations, TOKEN_COUNT_MAX, show)


def endpoint_answers(arguments, conversations):
    base = arguments.endpoint.rstrip("/")
    model = request_json(base + "/v1/models")["data"][0]["id"]
    show = progress_of(len(conversations))
    answers = []
    with concurrent.futures.ThreadPoolExecutor(arguments.parallel) as pool:
        for answer in pool.map(lambda messages: ask(base, model, messages), conversations):
            answers.append(answer)
            show(len(answers))
    return answers


def ask(base, model, messages):
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": TOKEN_COUNT_MAX}
    reply = request_json(base + "/v1/chat/completions", body)
    return reply["choices"][0]["message"]["content"] or ""


def request_json(url, body=None):
    request = urllib.request.Request(url, headers={"Content-Type": "application/json"})
    if body is not None:
        request.data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"evaluate.py: {url}: {error.code} {error.read(500).decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"evaluate.py: {url}: {error}")


def progress_of(total):
    """Shows the number answered: all along on a terminal, in a log at the end alone."""

    def show(done):
        if sys.stderr.isatty() or done == total:
            sys.stderr.write(f"\r{done} of {total} answered" + ("\n" if done == total else ""))
            sys.stderr.flush()

    return show


def score(tasks, answers):
    """A row for each task."""
    rows = []
    remaining = iter(answers)
    for kind, split, cases in tasks:
        results = [(case, next(remaining)) for case in cases]
        wrong = [
            {"question": case.messages[-1]["content"], "expected": case.answer, "answer": answer}
            for case, answer in results
            if answer != case.answer
        ]
        right = len(results) - len(wrong)
        low, high = interval(right, len(results))
        rows.append(
            {
                "kind": kind,
                "split": split,
                "count": len(results),
                "right": right,
                "percent": percent(right, len(results)),
                "interval_percent": [low, high],
                "wrong": wrong,
            }
        )
    return rows


def percent(right, count):
    return round(100 * right / count, 1) if count else 0.0


def interval(right, count):
    """Wilson's 95 % interval of a proportion, in percent."""
    if count == 0:
        return 0.0, 100.0
    z = 1.96
    share = right / count
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 100 / (1 + z * z / count)
    low = max(0.0, (centre - spread) * scale)
    return round(low, 1), round((centre + spread) * scale, 1)


def print_table(rows):
    print("| kind | split | right | of | % | 95 % interval |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["interval_percent"]
        print(
            f"| {row['kind']} | {row['split']} | {row['right']} | {row['count']} "
            f"| {row['percent']} | {low} to {high} |"
        )
    totals = collections.Counter()
    for row in rows:
        totals[row["split"], "right"] += row["right"]
        totals[row["split"], "count"] += row["count"]
    for split in dict.fromkeys(row["split"] for row in rows):
        right, count = totals[split, "right"], totals[split, "count"]
        low, high = interval(right, count)
        print(f"| all | {split} | {right} | {count} | {percent(right, count)} | {low} to {high} |")
    for row in rows:
        for item in row["wrong"][:WRONG_SHOWN]:
            sys.stderr.write(
                f"{row['kind']}, {row['split']}: {json.dumps(item, ensure_ascii=False)}\n"
            )


def write_json(path, rows):
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, path)


if __name__ == "__main__":
    main()
