"""What holds a GPU back while it works: its state under load, and its driver's count over the passes.

The passes that are timed leave the GPU idle behind each of them, so its state is read while others are queued.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from groundlake import machine
from groundlake.measure.doubts import held_back
from groundlake.system import held_back_s, system_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from groundlake.measure.doubts import Doubt

LEAD_S = 0.1
"""Work that is queued before the state is read, and at most as much again meanwhile."""


def system_under_load(
    device: str, module: torch.nn.Module, example: torch.Tensor, pass_ms: Sequence[float]
) -> dict[str, Any]:
    """Read the state of the device that has just been measured.

    A processor is read at once: each call returns when its work is done, so that nothing can be queued. A GPU gets
    passes of the model to work on.

    Args:
        device: cpu, cuda or cuda:1.
        module: The model.
        example: Its input.
        pass_ms: How long its passes took, in ms.
    """
    if example.device.type != "cuda":
        return system_state(device)
    with torch.inference_mode():
        return state_while_queued(
            device,
            queue_pass=lambda: module(example),
            settle=lambda: torch.cuda.synchronize(example.device),
            passes=math.ceil(LEAD_S * 1000 / max(median(pass_ms), 1e-3)),
        )


def state_while_queued(
    device: str,
    *,
    queue_pass: Callable[[], object],
    settle: Callable[[], object],
    passes: int,
    root: Path = machine.ROOT,
) -> dict[str, Any]:
    """Read the state of a GPU while it has passes to work on, and wait for it only then.

    The passes go on during the reading, in a thread beside it: those of a small model are done as soon as they are
    queued, so that a queue alone would not last.

    Args:
        device: cuda or cuda:1.
        queue_pass: Queues a pass, and returns before it is done.
        settle: Waits until all passes are done.
        passes: Passes before the reading begins, and at most as many while it lasts.
        root: Root of the file tree with `/proc` and `/sys`.
    """
    with machine.nvml(root):  # started beforehand: the first start takes longer than a reading
        for _ in range(passes):
            queue_pass()
        with ThreadPoolExecutor(1) as beside:
            reading = beside.submit(system_state, device, root)
            for _ in range(passes):
                if reading.done():
                    break
                queue_pass()
            state = reading.result()
        settle()
    return state


class HeldBack:
    """Reads how long the GPU's driver held its clocks back, from the making of this to `doubts`."""

    def __init__(self, device: str, root: Path = machine.ROOT) -> None:
        self._device, self._root = device, root
        self._before_s = held_back_s(device, root)
        self._start_s = perf_counter()

    def doubts(self) -> Iterator[Doubt]:
        """Yield what is doubtful since then: nothing for a processor, and where the driver does not count."""
        after_s = held_back_s(self._device, self._root)
        held_s = {cause: after_s[cause] - self._before_s[cause] for cause in self._before_s.keys() & after_s.keys()}
        yield from held_back(held_s, perf_counter() - self._start_s)
