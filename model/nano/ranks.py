"""Training by several processes that add up their gradients once a step.

On a machine that others use too, threads that meet after each small operation wait for one another
most of the time; processes that meet once a step do not.
"""

import datetime
import os
import pathlib
import shutil
import tempfile

import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing

PEER_WAIT = datetime.timedelta(minutes=20)  # the others may be compiling


def start_others(count, run_rank, arguments):
    """Starts ranks 1 to count - 1, each as run_rank(rank, count, meeting, arguments).

    Returns the meeting that rank 0 joins. The processes end with this one: the peer's end breaks
    their next exchange.
    """
    meeting = tempfile.mkdtemp(prefix="nano-ranks-")
    context = multiprocessing.get_context("spawn")
    for rank in range(1, count):
        context.Process(
            target=run_rank, args=(rank, count, meeting, arguments), daemon=True
        ).start()
    return meeting


def join(rank, count, meeting):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{pathlib.Path(meeting) / 'store'}",
        rank=rank,
        world_size=count,
        timeout=PEER_WAIT,
    )


def leave(meeting):
    distributed.destroy_process_group()
    shutil.rmtree(meeting, ignore_errors=True)


def wait_for_all():
    distributed.barrier()


def average(weights, numbers):
    """Averages the gradients over all ranks, and a few numbers beside them, which it returns.

    A weight that a rank did not use counts as zero there.
    """
    gradients = [
        torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights
    ]
    if distributed.get_world_size() == 1:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        return numbers
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients] + [torch.tensor(numbers)])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    start = 0
    for weight in weights:
        weight.grad = flat[start : start + weight.numel()].view_as(weight).clone()
        start += weight.numel()
    return flat[start:].tolist()
