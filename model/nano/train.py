#!/usr/bin/env python3
"""Trains facet-nano from nothing on the generated corpus and exports a Hugging Face folder.

  train.py --output FOLDER [--minutes 150]    train, or go on where a killed run stopped
  train.py --output FOLDER --smoke            one minute from nothing; fails unless the loss fell

FOLDER gets `words.npz` (spoken words, by espeak-ng), `state.pt` (weights, optimisers, progress; at
most a minute old; not with --smoke) and `model/`, the export.
"""

import argparse
import math
import os
import pathlib
import shutil
import sys
import time

import torch

import batches
import checkpoint
import mixture
import ranks
import sounds
import warm_start

# (rows, tokens in a row): three steps in four take short rows; the fourth lets clips and tools in.
SHORT_ROWS = (24, 256)
LONG_ROWS = (12, 512)
LONG_EVERY = 4
TEXT_ROWS = (16, 384)
FIRST_STEPS = 250  # of single shapes alone: among other tasks they are not learned at all
SMOKE_ROWS = (8, 256)  # small, so that a busy machine too gets dozens of steps into its minute

MUON_RATE = 0.02
ADAM_RATE = 0.003
WARM_UP_STEPS = 50
SMOKE_WARM_UP_STEPS = 8
DECAY_SHARE = 0.35  # of the budget, at its end, over which the rate falls to zero
SAVE_EVERY_S = 50
STATE_FILE = "state.pt"
DISK_BYTES_MIN = 500 * 1024 * 1024
SMOKE_MINUTES = 1


def main():
    arguments = parse_arguments()
    folder = pathlib.Path(arguments.output)
    problem = folder_problem(folder, arguments.smoke)
    if problem:
        sys.exit(f"train.py: --output {folder}: {problem}")
    if needs_words(arguments):
        sounds.prepare(arguments.data or folder, show_words)
    meeting = ranks.start_others(arguments.processes, run_rank, arguments)
    run = run_rank(0, arguments.processes, meeting, arguments)
    ranks.leave(meeting)
    checkpoint.export(run.model, folder / "model")
    progress(f"exported to {folder / 'model'}\n")
    if arguments.smoke:
        check_loss_fell(run.losses)


def run_rank(rank, count, meeting, arguments):
    """One of the processes of a run; rank 0 reports and saves."""
    torch.set_num_threads(max(1, arguments.threads // count))
    ranks.join(rank, count, meeting)
    run = Run(pathlib.Path(arguments.output), arguments, rank, count)
    if not arguments.smoke and not arguments.fresh:
        run.resume()
    run.train()
    return run


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", required=True, help="folder for state and export, outside of the source tree"
    )
    parser.add_argument(
        "--minutes", type=float, default=150, help="training time in all, over all resumed runs"
    )
    parser.add_argument("--data", help="folder of the spoken words; default: the --output folder")
    parser.add_argument(
        "--start_from", help="GGUF file of an earlier facet-nano whose text weights are the start"
    )
    parser.add_argument(
        "--text_only", action="store_true", help="leave pictures, sounds and clips for a later run"
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=1.0,
        help="factor of the learning rates; 0.4 keeps what --start_from knows",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of all processes")
    parser.add_argument(
        "--loaders",
        type=int,
        default=0,
        help="processes that make batches ahead; a GPU needs one for each core",
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="that share the rows of a step; see ranks.py"
    )
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument(
        "--fresh", action="store_true", help="start from nothing even if FOLDER holds a state"
    )
    parser.add_argument(
        "--no_compile",
        action="store_true",
        help="run without torch.compile (needs no C++ compiler)",
    )
    parser.add_argument(
        "--smoke", action="store_true", help="one minute from nothing; fails unless the loss fell"
    )
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.minutes = SMOKE_MINUTES
        arguments.no_compile = True
    if not arguments.no_compile and not shutil.which("g++"):
        progress("no g++ found for torch.compile: training without it, at half the speed\n")
        arguments.no_compile = True
    if not 0 < arguments.minutes <= 10_000:
        parser.error(f"--minutes {arguments.minutes}: must be above 0 and at most 10000")
    if not 1 <= arguments.threads <= 1024:
        parser.error(f"--threads {arguments.threads}: must be 1 to 1024")
    if arguments.device not in ("cpu", "cuda"):
        parser.error(f"--device {arguments.device}: must be cpu or cuda")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no GPU")
    if not 0 <= arguments.loaders <= 256:
        parser.error(f"--loaders {arguments.loaders}: must be 0 to 256")
    if not 1 <= arguments.processes <= arguments.threads:
        parser.error(f"--processes {arguments.processes}: must be 1 to --threads")
    if not 0 < arguments.rate <= 10:
        parser.error(f"--rate {arguments.rate}: must be above 0 and at most 10")
    if arguments.start_from and not os.path.isfile(arguments.start_from):
        parser.error(f"--start_from {arguments.start_from}: no such file")
    return arguments


def folder_problem(folder, smoke):
    """Why the folder cannot take a run, or an empty string. Makes the folder."""
    if smoke and (folder / STATE_FILE).exists():
        return "holds a run, which --smoke would overwrite"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"cannot be made: {error.strerror}"
    if not os.access(folder, os.W_OK):
        return "cannot be written"
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < DISK_BYTES_MIN:
        return f"{free_bytes // 2**20} MiB free on its disk, {DISK_BYTES_MIN // 2**20} MiB needed"
    return ""


class Run:
    """A training run: the model, its optimisers and how far they are.

    One thread; owns `folder`/state.pt.
    """

    def __init__(self, folder, arguments, rank, rank_count):
        self.rank, self.rank_count = rank, rank_count
        self.state_path = folder / STATE_FILE
        self.seed = arguments.seed
        self.smoke = arguments.smoke
        self.budget_s = 60 * arguments.minutes
        self.model = checkpoint.new_model(arguments.seed)
        self.device = arguments.device
        self.model.to(self.device).train()
        if arguments.start_from:
            count = warm_start.load(self.model, arguments.start_from)
            self.progress(f"{count} tensors taken from {arguments.start_from}\n")
        # The head runs on answer tokens alone, and the embedders on what a batch has of media.
        # Their number changes from batch to batch, so the body alone is compiled.
        body = self.model.model.language_model
        self.body = body if arguments.no_compile else torch.compile(body, dynamic=False)
        self.trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizers = make_optimizers(self.model)
        bank = sounds.Bank(arguments.data or folder) if needs_words(arguments) else None
        self.plan = "smoke" if arguments.smoke else "text" if arguments.text_only else "all"
        self.rate = arguments.rate
        self.packer = batches.Packer(arguments.seed, mixture.Mixture(bank))
        self.loader_count = arguments.loaders
        self.step = 0
        self.first_step = 0  # of this process
        self.elapsed_s = 0.0
        self.losses = []

    def resume(self):
        if not self.state_path.exists():
            return
        state = torch.load(self.state_path, map_location=self.device, weights_only=True)
        if state["seed"] != self.seed:
            sys.exit(
                f"train.py: {self.state_path} was made with --seed {state['seed']}; "
                "use it, or --fresh"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.elapsed_s, self.losses = state["step"], state["elapsed_s"], state["losses"]
        self.first_step = self.step
        self.progress(f"going on at step {self.step}, {self.elapsed_s / 60:.1f} minutes done\n")

    def save(self):
        if self.smoke or self.rank > 0:
            return
        state = {
            "seed": self.seed,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "losses": self.losses,
        }
        checkpoint.save_state(state, self.state_path)

    def train(self):
        self.compile_in_turn()
        saved_at_s = self.elapsed_s
        loader = self.batches_from(self.step)
        last_s = time.monotonic()
        while self.elapsed_s < self.budget_s:
            now_s = time.monotonic()
            loss, seconds = self.train_step(next(loader), now_s - last_s)
            last_s = now_s
            self.losses.append(loss)
            self.step += 1
            self.elapsed_s += seconds
            if not math.isfinite(loss):
                sys.exit(
                    f"train.py: the loss is {loss} at step {self.step}; the last state is kept"
                )
            self.report()
            if self.elapsed_s - saved_at_s > SAVE_EVERY_S:
                self.save()
                saved_at_s = self.elapsed_s
        self.save()
        self.progress("\n")

    def compile_in_turn(self):
        """Rank 0 compiles; the others find the result on disk."""
        for rank in range(self.rank_count):
            if rank == self.rank:
                self.loss(next(self.batches_from(self.step))).backward()
                self.model.zero_grad(set_to_none=True)
            ranks.wait_for_all()

    def batches_from(self, step):
        """Endless batches, made ahead by --loaders processes."""
        ahead = 4 if self.loader_count else None
        return iter(
            torch.utils.data.DataLoader(
                Rows(self.packer, self.rank, self.rank_count, self.plan),
                batch_size=None,
                sampler=range(step, sys.maxsize),
                num_workers=self.loader_count,
                prefetch_factor=ahead,
            )
        )

    def train_step(self, batch, seconds):
        """(loss, seconds), both the means over all ranks, so that all agree on when to stop.

        `seconds` is what this rank's last step took.
        """
        self.set_rates()
        loss = self.loss(batch)
        loss.backward()
        numbers = ranks.average(self.trained, [loss.item(), seconds])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return numbers

    def loss(self, batch):
        batch = batch.to(self.device)
        text_config = self.model.config.text_config
        with torch.autocast(self.device, torch.bfloat16):
            hidden = self.body(
                inputs_embeds=batches.embeddings(self.model, batch),
                position_ids=batch.positions,
                attention_mask=batches.masks(batch, text_config.sliding_window, torch.bfloat16),
                use_cache=False,
            ).last_hidden_state
            learned = batch.labels != batches.IGNORED
            logits = self.model.lm_head(hidden[learned])
        cap = text_config.final_logit_softcapping
        logits = cap * torch.tanh(logits.float() / cap)
        return torch.nn.functional.cross_entropy(logits, batch.labels[learned])

    def set_rates(self):
        warm_up_steps = SMOKE_WARM_UP_STEPS if self.smoke else WARM_UP_STEPS
        done = self.elapsed_s / self.budget_s
        scale = rate_scale(self.step - self.first_step, done, warm_up_steps)
        for optimizer, rate in zip(self.optimizers, (MUON_RATE, ADAM_RATE), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale * self.rate

    def report(self):
        recent = self.losses[-20:]
        remaining_s = max(0.0, self.budget_s - self.elapsed_s)
        done = int(20 * self.elapsed_s / self.budget_s)
        bar = "#" * min(done, 20) + "." * (20 - min(done, 20))
        loss = sum(recent) / len(recent)
        line = f"[{bar}] step {self.step} loss {loss:.4f} remaining {remaining_s / 60:.1f} min"
        if sys.stderr.isatty():
            self.progress("\r" + line + "  ")
        elif self.step % 20 == 0:
            self.progress(line + "\n")

    def progress(self, text):
        if self.rank == 0:
            progress(text)


def needs_words(arguments):
    return not (arguments.smoke or arguments.text_only)


class Rows(torch.utils.data.Dataset):
    """Step number -> this rank's part of the step's batch."""

    def __init__(self, packer, rank, rank_count, plan):
        self.packer = packer
        self.rank, self.rank_count = rank, rank_count
        self.plan = plan

    def __getitem__(self, step):
        (row_count, length), shares = row_plan(step, self.plan)
        index = step * self.rank_count + self.rank
        return self.packer.batch(index, row_count // self.rank_count, length, shares)


def row_plan(step, plan):
    """(rows and tokens of a row, shares of the tasks)"""
    if plan == "smoke":
        return SMOKE_ROWS, mixture.SMOKE
    if plan == "text":
        return TEXT_ROWS, mixture.TEXT
    if step < FIRST_STEPS:
        return SHORT_ROWS, mixture.FIRST
    if step % LONG_EVERY == LONG_EVERY - 1:
        return LONG_ROWS, mixture.LONG
    return SHORT_ROWS, mixture.SHORT


def make_optimizers(model):
    """Muon for matrices, AdamW for embeddings, positions, biases and norms."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    table = model.model.language_model.embed_tokens.weight
    matrices = [weight for weight in trained if weight.ndim == 2 and weight is not table]
    others = [weight for weight in trained if weight.ndim != 2 or weight is table]
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.05, momentum=0.95),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate_scale(step, done, warm_up_steps=WARM_UP_STEPS):
    """Warm-up, a flat stretch, then a straight fall to zero at the end of the budget.

    `step` counts from the start of the process: a larger budget raises the rate of a finished run
    again, and the optimisers' averages, small by then, must not make the weights jump.
    """
    warm_up = min(1.0, (step + 1) / warm_up_steps)
    decay = min(1.0, (1.0 - done) / DECAY_SHARE)
    return max(0.0, warm_up * decay)


def check_loss_fell(losses):
    first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    if len(losses) < 6 or not last < 0.7 * first:
        sys.exit(
            f"train.py: the loss went from {first:.3f} to {last:.3f} in {len(losses)} steps; "
            "it must fall by 30 %"
        )
    progress(f"the loss fell from {first:.3f} to {last:.3f} in {len(losses)} steps\n")


def show_words(done, total):
    if done % 500 == 0 or done == total:
        progress(f"\r{done} of {total} words spoken" + ("\n" if done == total else ""))


def progress(text):
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    main()
