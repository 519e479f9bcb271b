#!/usr/bin/env python3
"""Trains the drafter of facet-nano against a trained, frozen target, and measures it.

  train_drafter.py --target FOLDER/model --output FOLDER [--minutes 10]

FOLDER gets `drafter.pt` (weights, optimisers, progress; at most a minute old) and `assistant/`, a
Hugging Face folder. A killed run goes on when the same command is given again. At the end the
accepted drafts are counted on held-out questions, along the target's own greedy answers.
"""

import argparse
import collections
import json
import os
import pathlib
import sys
import time

import torch
from safetensors.torch import save_file

import batches
import checkpoint
import drafter
import mixture
import reference
import tasks
import train
from conversation import Conversation

ROWS = (12, 256)
MUON_RATE = 0.02
ADAM_RATE = 0.003
TOKEN_COUNT_MAX = 160
COUNTED_TASKS = tasks.TEXT_KINDS + [tasks.HISTORY, "memory", "system prompt"]


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    folder = pathlib.Path(arguments.output)
    problem = train.folder_problem(folder, smoke=False)
    if problem:
        sys.exit(f"train_drafter.py: --output {folder}: {problem}")
    asked = reference.Reference(arguments.target)
    asked.model.requires_grad_(False)
    asked.model.to(arguments.device)
    run = DrafterRun(asked.model, folder, arguments)
    run.resume()
    run.train()
    asked.model.to("cpu")
    run.drafter.to("cpu")
    export(run.drafter, folder / "assistant")
    print_accepted(run.drafter, asked, arguments)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", required=True, help="Hugging Face folder of the trained model")
    parser.add_argument("--output", required=True, help="folder for state and export")
    parser.add_argument("--minutes", type=float, default=10, help="training time in all")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--count", type=int, default=20, help="questions of each task to count on")
    arguments = parser.parse_args()
    if not os.path.isdir(arguments.target):
        parser.error(f"--target {arguments.target}: no such folder")
    if arguments.device not in ("cpu", "cuda"):
        parser.error(f"--device {arguments.device}: must be cpu or cuda")
    if not 0 < arguments.minutes <= 10_000:
        parser.error(f"--minutes {arguments.minutes}: must be above 0 and at most 10000")
    if not 1 <= arguments.threads <= 1024:
        parser.error(f"--threads {arguments.threads}: must be 1 to 1024")
    return arguments


class DrafterRun:
    """One thread; owns `folder`/drafter.pt."""

    def __init__(self, target, folder, arguments):
        self.target = target
        self.state_path = folder / "drafter.pt"
        self.budget_s = 60 * arguments.minutes
        self.device = arguments.device
        self.drafter = drafter.new_drafter(arguments.seed).to(self.device)
        table = self.drafter.model.embed_tokens.weight
        weights = list(self.drafter.parameters())
        matrices = [weight for weight in weights if weight.ndim == 2 and weight is not table]
        others = [weight for weight in weights if weight.ndim != 2 or weight is table]
        self.optimizers = [
            torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.05, momentum=0.95),
            torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.packer = batches.Packer(arguments.seed, mixture.Mixture(None))
        self.step = 0
        self.elapsed_s = 0.0
        self.losses = []

    def resume(self):
        if not self.state_path.exists():
            return
        state = torch.load(self.state_path, map_location=self.device, weights_only=True)
        self.drafter.load_state_dict(state["drafter"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]

    def save(self):
        state = {
            "drafter": self.drafter.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }
        checkpoint.save_state(state, self.state_path)

    def train(self):
        saved_at_s = self.elapsed_s
        while self.elapsed_s < self.budget_s:
            started = time.monotonic()
            batch = self.packer.batch(self.step, *ROWS, mixture.TEXT_ONLY)
            scale = train.rate_scale(self.step, self.elapsed_s / self.budget_s)
            loss = drafter.loss(self.drafter, self.target, batch.to(self.device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.drafter.parameters(), 1.0)
            for optimizer, rate in zip(self.optimizers, (MUON_RATE, ADAM_RATE), strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate * scale
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            self.losses.append(loss.item())
            self.step += 1
            self.elapsed_s += time.monotonic() - started
            self.report()
            if self.elapsed_s - saved_at_s > train.SAVE_EVERY_S:
                self.save()
                saved_at_s = self.elapsed_s
        self.save()

    def report(self):
        if self.step % 20 == 0:
            recent = self.losses[-20:]
            remaining_s = max(0.0, self.budget_s - self.elapsed_s)
            train.progress(
                f"step {self.step} loss {sum(recent) / len(recent):.4f} "
                f"remaining {remaining_s / 60:.1f} min\n"
            )


def export(trained, folder):
    """config.json and model.safetensors, aside and then renamed."""
    folder.mkdir(exist_ok=True)
    weights = {name: value.contiguous() for name, value in trained.state_dict().items()}
    save_file(weights, folder / "model.tmp", metadata={"format": "pt"})
    os.replace(folder / "model.tmp", folder / "model.safetensors")
    config = trained.config.to_dict() | {"architectures": ["Gemma4UnifiedAssistantForCausalLM"]}
    checkpoint.write_json(folder / "config.json", json.loads(json.dumps(config, default=str)))


def print_accepted(trained, asked, arguments):
    """Mean accepted drafts a target step at k = 3, for each task and in all."""
    every = []
    for name in COUNTED_TASKS:
        _, _, cases = tasks.make(name, arguments.count, arguments.seed, None)[0]
        conversations = [case.conversation for case in cases]
        given = asked.answers(conversations, TOKEN_COUNT_MAX, lambda done: None)
        encoded = [
            asked.encoder.encode(answered(conversation, answer.text))
            for conversation, answer in zip(conversations, given, strict=True)
        ]
        for item in encoded:
            keep_last_answer(item)
        length = max(len(item.tokens) for item in encoded)
        batch = batches.tensors([[item] for item in encoded], length)
        counts = drafter.accepted(trained, asked.model, batch)
        every += counts
        print(f"| {name} | {len(counts)} | {mean(counts):.2f} |")
    print(f"| all | {len(every)} | {mean(every):.2f} |")
    print("drafts accepted, steps:", sorted(collections.Counter(every).items()))


def answered(conversation, text):
    return Conversation(conversation.messages + [{"role": "assistant", "content": text}])


def keep_last_answer(item):
    """Finished turns were not written in this run."""
    index = len(item.labels) - 2
    while index >= 0 and item.labels[index] != batches.IGNORED:
        index -= 1
    item.labels[: index + 1] = [batches.IGNORED] * (index + 1)


def mean(counts):
    return sum(counts) / len(counts) if counts else 0.0


if __name__ == "__main__":
    main()
