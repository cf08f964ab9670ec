"""What calibration data do to an int8 network: the small network of `groundlake.calibration.small_net`, quantized.

    python benchmarks/calibration.py

Each row is calibrated with other data from the same lake; the network, the pictures that it is asked about and how
those are prepared stay the same. Prints the share of right answers of each int8 network.

A second table has the time of the network in fp32 and in int8 on both engines, and what their profilers say runs as
int8. Times of two engines do not compare (they differ in fp32 already): the ratio is within an engine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from groundlake.calibration.building import build, default_name
from groundlake.calibration.onnx_reader import OnnxReader
from groundlake.calibration.preprocessing import apply, fingerprint
from groundlake.calibration.reading import open_set
from groundlake.calibration.registering import register_evaluation
from groundlake.calibration.selection import SEED
from groundlake.calibration.small_net import load_network, prepare, quantize
from groundlake.calibration.small_net.pictures import write_cifar10
from groundlake.calibration.small_net.train import accuracy
from groundlake.calibration.sources import read
from groundlake.calibration.torch_reader import TorchReader
from groundlake.errors import UsageError
from groundlake.measure.int8.kernels import int8_kernels
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from groundlake.calibration.reading import CalibrationSet
    from groundlake.calibration.small_net.quantize import Network

    Preprocess = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

EVALUATION = "small-net-test"
PREPARE = "groundlake.calibration.small_net:prepare"
ROUNDS = 200
"""Rounds of passes: in each, every network has its turn, so that a slower machine is slower for all of them."""
PROFILED = 20
ONNX_INT8 = ("QLinear", "QGemm", "QAttention", "ConvInteger", "MatMulInteger")
"""Beginnings of ONNX Runtime's names of operations that compute with int8."""


def divided(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Divide by 255 and do no more."""
    return apply(pixels) / np.float32(255)


def divided_once_more(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Prepare as the network wants it, and divide by 255 after that."""
    return prepare(pixels) / np.float32(255)


@dataclass(frozen=True)
class Row:
    """Calibration data: which set, and how its images are prepared."""

    what: str
    samples_per_class: int
    preprocess: Preprocess


def rows(samples_per_class: int) -> list[Row]:
    """Return what is compared."""
    return [
        Row("as the evaluation: (x / 255 - 0.5) / 0.25", samples_per_class, prepare),
        Row("the same, one image of each class", 1, prepare),
        Row("x / 255, not normalised", samples_per_class, divided),
        Row("raw, 0 to 255", samples_per_class, apply),
        Row("as the evaluation, divided by 255 once more", samples_per_class, divided_once_more),
    ]


def refused(images: CalibrationSet, row: Row) -> str:
    """Say whether a reader refuses the data, once it is told what the evaluation is."""
    try:
        TorchReader(images, preprocess=row.preprocess, evaluation_set=EVALUATION)
    except UsageError:
        return "yes"
    return "no"


@dataclass(frozen=True)
class Engine:
    """One engine with the network in fp32 and in int8.

    Attributes:
        what: Name of the engine.
        plain: The network in fp32.
        int8: The network in int8.
        proof: Share of the time in int8 kernels, and their names, for a batch.
    """

    what: str
    plain: Network
    int8: Network
    proof: Callable[[torch.Tensor], tuple[float, tuple[str, ...]]]


def onnx_kernels(model: Path, batch: torch.Tensor) -> tuple[float, tuple[str, ...]]:
    """Return the share of ONNX Runtime's time in kernels that compute with int8, and the names of these."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(model.with_suffix(".profile"))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for _ in range(PROFILED):
        session.run(None, {quantize.INPUT: batch.numpy()})
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent: dict[str, int] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["args"]["op_name"]
            spent[name] = spent.get(name, 0) + event["dur"]
    names = tuple(sorted(name for name in spent if name.startswith(ONNX_INT8)))
    return sum(spent[name] for name in names) / sum(spent.values()), names


def both_engines(images: CalibrationSet, model: Path, quantized: Path, engine: str) -> list[Engine]:
    """Quantize the network with the right data on both engines."""
    facts = {"preprocess": prepare, "evaluation_set": EVALUATION}
    with_torch = quantize.with_torch(TorchReader(images, **facts), engine)
    with_onnx = quantize.with_onnx_runtime(model, OnnxReader(images, quantize.INPUT, **facts), quantized)

    def torch_kernels(batch: torch.Tensor) -> tuple[float, tuple[str, ...]]:
        found = int8_kernels(with_torch, batch)
        return found.time_share, found.names

    return [
        Engine(f"PyTorch ({engine})", load_network(), with_torch, torch_kernels),
        Engine("ONNX Runtime", quantize.run_onnx(model), with_onnx, lambda batch: onnx_kernels(quantized, batch)),
    ]


def times_ms(networks: list[Network], batch: torch.Tensor, rounds: int) -> list[float]:
    """Return the median time of a pass of each network in ms, one after another in every round."""
    spent: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for number in range(rounds + rounds // 10):
            for network, samples in zip(networks, spent, strict=True):
                start = perf_counter()
                network(batch)
                if number >= rounds // 10:  # the others warm up
                    samples.append((perf_counter() - start) * 1e3)
    return [median(samples) for samples in spent]


def print_times(engines: list[Engine], pixels: NDArray[np.uint8], rounds: int) -> None:
    """Print the times of both engines, and what of it is int8; a network of which nothing is, has no ratio."""
    print(f"\n{'engine':20} batch  fp32 ms  int8 ms  fp32 / int8  time in int8 kernels")
    for size in (1, 32):
        batch = torch.from_numpy(np.ascontiguousarray(prepare(pixels[:size]).transpose(0, 3, 1, 2)))
        found = times_ms([each for engine in engines for each in (engine.plain, engine.int8)], batch, rounds)
        for place, engine in enumerate(engines):
            plain, int8 = found[2 * place : 2 * place + 2]
            share, names = engine.proof(batch)
            ratio = f"{plain / int8:11.2f}" if names else "not int8   "
            print(f"{engine.what:20} {size:5}  {plain:7.3f}  {int8:7.3f}  {ratio}  {share:4.0%} {', '.join(names)}")


def main() -> None:
    """Build sets, quantize with each, and print what is left of the answers, and how long they take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples-per-class", type=int, default=100)
    parser.add_argument("--test-per-class", type=int, default=200)
    parser.add_argument("--engine", default=quantize.ENGINE, help=f"of PyTorch (default: {quantize.ENGINE})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"timed passes (default: {ROUNDS})")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_cifar10(
            folder / "data", per_class=-(-given.samples_per_class // 5) * 5, test_per_class=given.test_per_class
        )
        lake = Lake(folder / "lake")
        register_evaluation(lake, EVALUATION, data, PREPARE)
        test = read("cifar10", data, split="test")
        model = quantize.export_onnx(folder)
        before = accuracy(load_network(), test.pixels, test.labels)
        print(f"{len(test.labels)} test pictures, {before:.3f} right before quantization\n")
        print(f"{'calibration data':45} images  PyTorch ({given.engine})  ONNX Runtime  refused by the readers")
        for row in rows(given.samples_per_class):
            built = build(lake, source="cifar10", data_dir=data, samples_per_class=row.samples_per_class)
            images = open_set(lake, built.name)
            facts = {"preprocess": row.preprocess, "expected": fingerprint(row.preprocess).preprocessing}
            with_torch = quantize.with_torch(TorchReader(images, **facts), given.engine)
            reader = OnnxReader(images, quantize.INPUT, **facts)
            with_onnx = quantize.with_onnx_runtime(model, reader, folder / "int8.onnx")
            after = [accuracy(each, test.pixels, test.labels) for each in (with_torch, with_onnx)]
            columns = f"{after[0]:{12 + len(given.engine)}.3f}  {after[1]:12.3f}  {refused(images, row)}"
            print(f"{row.what:45} {len(images):6}{columns}")
        images = open_set(lake, default_name("cifar10", given.samples_per_class, SEED))
        print_times(both_engines(images, model, folder / "timed.onnx", given.engine), test.pixels, given.rounds)


if __name__ == "__main__":
    main()
