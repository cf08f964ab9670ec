"""The small network: a stem, three residual blocks that halve the picture, and a classifier; 56 thousand parameters.

What quantization has to cope with is in it: convolutions with batch normalisation, sums of two branches, a mean over
the picture and a linear layer. Each rectifier is a module of its own and each size is fixed, so that every way of
tracing takes it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

WIDTHS = (16, 16, 32, 48)
"""Channels of the stem and of the blocks."""
CLASSES = 10


class Block(nn.Module):
    """Two convolutions beside a short cut; height and width are halved."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.first_relu = nn.ReLU()
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h / 2, w / 2)."""
        y = self.first_relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        out: torch.Tensor = self.relu(y + self.shortcut_norm(self.shortcut(x)))
        return out


class SmallNet(nn.Module):
    """The whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(WIDTHS[0])
        self.stem_relu = nn.ReLU()
        self.blocks = nn.Sequential(*(Block(*pair) for pair in itertools.pairwise(WIDTHS)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(WIDTHS[-1], CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, 32, 32) prepared pixels to (n, 10) scores."""
        y = self.blocks(self.stem_relu(self.stem_norm(self.stem(x))))
        scores: torch.Tensor = self.classifier(self.flatten(self.pool(y)))
        return scores


def make(seed: int) -> SmallNet:
    """Return the untrained network with the weights of a seed; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmallNet()


def load(weights: Path) -> SmallNet:
    """Return the network with weights from a file, in evaluation mode."""
    network = SmallNet()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
