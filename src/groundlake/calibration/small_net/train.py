"""Trains the small network from nothing, on one thread of a processor, in a minute and a half.

    python -m groundlake.calibration.small_net.train FOLDER [--epochs N] [--seed N]

The same seed gives the same weights on the same machine and versions; elsewhere, sums are rounded in another order, so
that weights differ and the accuracy differs a little.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import numpy as np
import torch

from groundlake.calibration.small_net import network, prepare, weights_file
from groundlake.calibration.small_net.pictures import make_pictures
from groundlake.errors import LakeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Network = Callable[[torch.Tensor], torch.Tensor]

PER_CLASS, EPOCHS, BATCH = 800, 8, 128
TEST_PART = 4
"""For its test, a quarter as many pictures are drawn."""
TRAINING_SEED, TEST_SEED = 1000, 2000
"""Seeds of the pictures: `pictures` writes others, 0 and 1 by default, none of which the network is trained on."""
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 0.05


def train(
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    per_class: int = PER_CLASS,
    say: Callable[[str], object] = lambda _: None,
) -> tuple[network.SmallNet, float]:
    """Train a network; return it in evaluation mode, and its share of right answers on pictures of its own.

    Uses one thread, and no random numbers of torch but the seed's; both are as before afterwards.

    Args:
        epochs: How often it is shown each picture.
        seed: Of the weights, of the pictures and of their order.
        per_class: Pictures of each class; a quarter as many for its test.
        say: Takes a line about the progress.

    Raises:
        UsageError: No epochs, or not a batch of pictures.
    """
    if epochs < 1 or per_class * network.CLASSES < BATCH:
        raise UsageError(
            f"epochs must be at least 1 and pictures of each class at least {-(-BATCH // network.CLASSES)}, "
            f"got {epochs} and {per_class}"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(epochs, seed, per_class, say)
    finally:
        torch.set_num_threads(threads)


def _train(epochs: int, seed: int, per_class: int, say: Callable[[str], object]) -> tuple[network.SmallNet, float]:
    pixels, labels = make_pictures(per_class, TRAINING_SEED + seed)
    test_pixels, test_labels = make_pictures(per_class // TEST_PART, TEST_SEED + seed)
    net, order = network.make(seed), np.random.default_rng(seed)
    steps = epochs * (labels.size // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    right = 0.0
    for epoch in range(1, epochs + 1):
        net.train()
        places = order.permutation(labels.size)[: labels.size // BATCH * BATCH].reshape(-1, BATCH)
        for batch in places:
            scores = net(as_tensor(pixels[batch]))
            loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels[batch]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        right = accuracy(net.eval(), test_pixels, test_labels)
        say(f"epoch {epoch} of {epochs}: loss {loss.item():.3f}, {right:.4f} right, {process_time():.0f} s")
    return net, right


def as_tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Return pixels (n, 32, 32, 3) as the network takes them: prepared, (n, 3, 32, 32)."""
    return torch.from_numpy(np.ascontiguousarray(prepare(pixels).transpose(0, 3, 1, 2)))


def accuracy(net: Network, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Return the share of right answers on pixels (n, 32, 32, 3) with labels (n,)."""
    right = 0
    with torch.no_grad():
        for start in range(0, labels.size, BATCH):
            part = slice(start, start + BATCH)
            right += int((net(as_tensor(pixels[part])).argmax(1).numpy() == labels[part]).sum())
    return right / labels.size


def save(net: network.SmallNet, folder: Path, *, facts: dict[str, object]) -> None:
    """Write the weights, and how they came about."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), folder / weights_file().name)
    (folder / "training.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m groundlake.calibration.small_net.train", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="where the weights go")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"(default: {EPOCHS})")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        net, right = train(epochs=given.epochs, seed=given.seed, say=lambda line: sys.stderr.write(line + "\n"))
    except LakeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    facts: dict[str, object] = {
        "epochs": given.epochs,
        "seed": given.seed,
        "training_pictures": PER_CLASS * network.CLASSES,
        "test_pictures": PER_CLASS // TEST_PART * network.CLASSES,
        "right": right,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "cpu_s": round(process_time()),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    save(net, given.folder, facts=facts)
    sys.stdout.write(f"{given.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
