#!/usr/bin/env python3
"""Asks facet-nano held-out questions of each task and prints how many it answers exactly right.

  evaluate.py --folder FOLDER/model --data FOLDER   the reference (PyTorch, transformers)
  evaluate.py --endpoint http://127.0.0.1:9379      a running Facet cluster; no PyTorch needed

Both ask the same questions, greedily. An answer counts only if it is the expected text, character
for character, or the expected tool calls, in order, with exactly these names and arguments; with
thinking on only if a thought stands before it too.
"""

import argparse
import collections
import concurrent.futures
import json
import math
import os
import pathlib
import shutil
import sys
import urllib.error
import urllib.request

import answers
import media
import sounds
import tasks

TOKEN_COUNT_MAX = 160  # the longest answer, the months, takes 94
REQUEST_TIMEOUT_S = 120
WRONG_SHOWN = 3


class Refused(Exception):
    """The endpoint answered 400."""


def main():
    arguments = parse_arguments()
    bank = None
    if any(name in tasks.NEED_BANK for name in arguments.tasks):
        sounds.prepare(arguments.data)
        bank = sounds.Bank(arguments.data)
    found = [
        row
        for name in arguments.tasks
        for row in tasks.make(name, arguments.count, arguments.seed, bank)
    ]
    if arguments.endpoint:
        found = [row for row in found if endpoint_takes(arguments, *row)]
    conversations = [case.conversation for _, _, cases in found for case in cases]
    answer = endpoint_answers if arguments.endpoint else reference_answers
    rows = score(found, answer(arguments, conversations))
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
    parser.add_argument("--count", type=int, default=200, help="questions for each task and split")
    parser.add_argument("--tasks", help="tasks with ; between; default: all that the source takes")
    parser.add_argument("--data", default=".", help="folder of the spoken words; made if missing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--parallel", type=int, default=8, help="requests in flight at the endpoint"
    )
    parser.add_argument("--json", help="also write the table, with the wrong answers, to this file")
    arguments = parser.parse_args()
    arguments.tasks = arguments.tasks.split(";") if arguments.tasks else tasks.ALL
    unknown = [name for name in arguments.tasks if name not in tasks.ALL]
    if unknown:
        parser.error(f"--tasks: no task {'; '.join(unknown)}; there are {'; '.join(tasks.ALL)}")
    needs_files = arguments.endpoint and any(name.startswith("clip") for name in arguments.tasks)
    if needs_files and not shutil.which("ffmpeg"):
        parser.error("clips are sent as files made by ffmpeg: install it, or leave them out")
    if not 1 <= arguments.count <= 100_000:
        parser.error(f"--count {arguments.count}: must be 1 to 100000")
    if not 1 <= arguments.parallel <= 256:
        parser.error(f"--parallel {arguments.parallel}: must be 1 to 256")
    return arguments


def reference_answers(arguments, conversations):
    from reference import Reference  # needs PyTorch, which the endpoint mode does without

    show = progress_of(len(conversations))
    return Reference(arguments.folder).answers(conversations, TOKEN_COUNT_MAX, show)


def endpoint_takes(arguments, name, split, cases):
    """Whether the endpoint takes the first question of a task; says so where it does not."""
    base = arguments.endpoint.rstrip("/")
    model = request_json(base + "/v1/models")["data"][0]["id"]
    try:
        ask(base, model, cases[0].conversation)
    except Refused as error:
        sys.stderr.write(f"{name}, {split}: left out, the endpoint says: {error}\n")
        return False
    return True


def endpoint_answers(arguments, conversations):
    base = arguments.endpoint.rstrip("/")
    model = request_json(base + "/v1/models")["data"][0]["id"]
    show = progress_of(len(conversations))
    found = []
    with concurrent.futures.ThreadPoolExecutor(arguments.parallel) as pool:
        for answer in pool.map(lambda item: ask(base, model, item), conversations):
            found.append(answer)
            show(len(found))
    return found


def ask(base, model, conversation):
    reply = request_json(base + "/v1/chat/completions", request_body(model, conversation))
    message = reply["choices"][0]["message"]
    calls = [
        {
            "name": call["function"]["name"],
            "arguments": json.loads(call["function"]["arguments"]),
        }
        for call in message.get("tool_calls") or []
    ]
    return answers.Answer(
        message.get("content") or "", calls, message.get("reasoning_content") or ""
    )


def request_body(model, conversation):
    """The conversation as the OpenAI API has it."""
    body = {
        "model": model,
        "messages": [],
        "temperature": 0,
        "max_tokens": TOKEN_COUNT_MAX,
    }
    call_count = result_count = 0
    for message in conversation.messages:
        sent = {"role": message["role"], "content": content_of(message)}
        if message["role"] == "assistant" and message.get("tool_calls"):
            sent["tool_calls"] = []
            for call in message["tool_calls"]:
                function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
                sent["tool_calls"].append(
                    {"id": f"call_{call_count}", "type": "function", "function": function}
                )
                call_count += 1
        if message["role"] == "tool":
            sent["tool_call_id"] = f"call_{result_count}"
            result_count += 1
        body["messages"].append(sent)
    if conversation.tools:
        body["tools"] = [{"type": "function", "function": tool} for tool in conversation.tools]
    if conversation.thinking:
        body["chat_template_kwargs"] = {"enable_thinking": True}
    return body


def content_of(message):
    content = message.get("content", "")
    if isinstance(content, str):
        return content
    return [part_of(part) for part in content]


def part_of(part):
    if part["type"] == "image":
        url = media.data_url("image/png", media.png(part["image"]))
        return {"type": "image_url", "image_url": {"url": url}}
    if part["type"] == "audio":
        data = media.data_url("", media.wav(part["audio"])).split(",")[1]
        return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    if part["type"] == "video":
        url = media.data_url("video/x-matroska", media.mkv(part["video"]))
        return {"type": "video_url", "video_url": {"url": url}}
    return part


def request_json(url, body=None):
    request = urllib.request.Request(url, headers={"Content-Type": "application/json"})
    if body is not None:
        request.data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        text = error.read(500).decode(errors="replace")
        if error.code == 400:
            raise Refused(text) from error
        sys.exit(f"evaluate.py: {url}: {error.code} {text}")
    except OSError as error:
        sys.exit(f"evaluate.py: {url}: {error}")


def progress_of(total):
    """Shows the number answered: all along on a terminal, in a log at the end alone."""

    def show(done):
        if sys.stderr.isatty() or done == total:
            sys.stderr.write(f"\r{done} of {total} answered" + ("\n" if done == total else ""))
            sys.stderr.flush()

    return show


def score(found, given):
    """A row for each task."""
    rows = []
    remaining = iter(given)
    for name, split, cases in found:
        results = [(case, next(remaining)) for case in cases]
        wrong = [described(case, answer) for case, answer in results if not is_right(case, answer)]
        right = len(results) - len(wrong)
        low, high = interval(right, len(results))
        rows.append(
            {
                "task": name,
                "split": split,
                "count": len(results),
                "right": right,
                "percent": percent(right, len(results)),
                "interval_percent": [low, high],
                "well_formed": sum(is_well_formed(case, answer) for case, answer in results),
                "false_calls": sum(
                    case.calls == [] and bool(answer.calls) for case, answer in results
                ),
                "wrong": wrong,
            }
        )
    return rows


def is_right(case, answer):
    if not is_well_formed(case, answer):
        return False
    if case.calls:
        return answer.calls == case.calls
    return answer.text == case.answer and not answer.calls


def is_well_formed(case, answer):
    return answer.well_formed and bool(answer.reasoning) == case.reasoning


def described(case, answer):
    content = case.conversation.messages[-1]["content"]
    if not isinstance(content, str):
        content = " ".join(part.get("text", f"<{part['type']}>") for part in content)
    return {
        "question": content,
        "expected": case.calls or case.answer,
        "answer": answer.calls or answer.text,
        "reasoning": answer.reasoning,
    }


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
    print("| task | split | right | of | % | 95 % interval |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["interval_percent"]
        print(
            f"| {row['task']} | {row['split']} | {row['right']} | {row['count']} "
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
                f"{row['task']}, {row['split']}: {json.dumps(item, ensure_ascii=False)}\n"
            )


def write_json(path, rows):
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, path)


if __name__ == "__main__":
    main()
