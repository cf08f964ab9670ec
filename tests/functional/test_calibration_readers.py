"""Calibration data reach PyTorch and ONNX Runtime from the lake as they are, and decide what int8 networks can do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest

from groundlake.calibration.building import build
from groundlake.calibration.preprocessing import fingerprint
from groundlake.calibration.reading import BYTES_AT_ONCE, open_set
from groundlake.calibration.registering import register_evaluation
from groundlake.calibration.small_net import load_network, prepare
from groundlake.calibration.small_net.pictures import write_cifar10
from groundlake.calibration.sources import read
from groundlake.calibration.streaming import make_feed
from groundlake.errors import CorruptLakeError, UsageError
from groundlake.store import Lake

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod

from groundlake.calibration.onnx_reader import OnnxReader
from groundlake.calibration.small_net import quantize, train
from groundlake.calibration.torch_reader import TorchReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from groundlake.calibration.reading import CalibrationSet

pytestmark = pytest.mark.slow  # together they take minutes

EVALUATION, PREPARE = "striped-test", "groundlake.calibration.small_net:prepare"
LITTLE, MUCH = 0.02, 0.30
"""Shares of answers that may be lost with the right data, and that wrong data lose at least."""


def divided_once_more(pixels: np.ndarray) -> np.ndarray:
    return prepare(pixels) / np.float32(255)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads, engine = torch.get_num_threads(), torch.backends.quantized.engine
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.backends.quantized.engine = engine


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cifar10(tmp_path_factory.mktemp("data") / "striped", per_class=20, test_per_class=60)


@pytest.fixture(scope="module")
def lake(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A set of 13 pictures of each class, so that few batch sizes divide it, and what it is evaluated on."""
    lake = Lake(tmp_path_factory.mktemp("lake") / "lake")
    build(lake, source="cifar10", data_dir=data, samples_per_class=13, name="striped")
    register_evaluation(lake, EVALUATION, data, PREPARE)
    return lake


@pytest.fixture
def striped(lake: Lake) -> CalibrationSet:
    return open_set(lake, "striped")


class Held:
    """Pictures that no calibration set has: how many answers an int8 network loses on them."""

    def __init__(self, data: Path, striped: CalibrationSet) -> None:
        test = read("cifar10", data, split="test")
        assert not set(test.sample_ids()) & set(striped.sample_ids)
        self.pixels, self.labels = test.pixels, test.labels
        self.before = train.accuracy(load_network(), self.pixels, self.labels)

    def lost(self, network: object) -> float:
        return self.before - train.accuracy(network, self.pixels, self.labels)


@pytest.fixture
def held(data: Path, striped: CalibrationSet) -> Held:
    return Held(data, striped)


def wrong(preprocess: object) -> dict[str, object]:
    """Arguments for a reader that prepares otherwise than the evaluation: one has to insist on it."""
    return {"preprocess": preprocess, "expected": fingerprint(preprocess).preprocessing}


RIGHT = {"preprocess": prepare, "evaluation_set": EVALUATION}


def test_pytorch_loses_little_with_the_right_data_and_most_with_another_scale(
    striped: CalibrationSet, held: Held
) -> None:
    assert held.before > 0.97
    right = quantize.with_torch(TorchReader(striped, **RIGHT))
    assert "QuantizedConv" in str(right)
    assert held.lost(right) <= LITTLE
    assert held.lost(quantize.with_torch(TorchReader(striped, **wrong(divided_once_more)))) >= MUCH
    assert held.lost(quantize.with_torch(TorchReader(striped))) >= MUCH, "raw values, which the network never sees"


def test_onnx_runtime_loses_little_with_the_right_data_and_most_with_another_scale(
    striped: CalibrationSet, held: Held, tmp_path: Path
) -> None:
    model = quantize.export_onnx(tmp_path)
    assert held.lost(quantize.run_onnx(model)) == pytest.approx(0, abs=0.002)
    reader = OnnxReader(striped, quantize.INPUT, **RIGHT)
    quantized = tmp_path / "int8.onnx"
    assert held.lost(quantize.with_onnx_runtime(model, reader, quantized)) <= LITTLE
    convolutions = [node for node in onnx.load(quantized).graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 10
    assert all(node.input[1].endswith("_DequantizeLinear_Output") for node in convolutions)
    for other in (wrong(divided_once_more), {}):
        reader = OnnxReader(striped, quantize.INPUT, **other)
        assert held.lost(quantize.with_onnx_runtime(model, reader, quantized)) >= MUCH


def test_tensors_are_the_images_of_the_set_in_its_order(striped: CalibrationSet) -> None:
    reader = TorchReader(striped, batch_size=50)
    batches = list(reader)
    assert [tuple(batch.shape) for batch in batches] == [(50, 3, 32, 32), (50, 3, 32, 32), (30, 3, 32, 32)]
    assert len(reader) == 3
    together = torch.cat(batches)
    assert together.dtype == torch.float32
    assert (together.min(), together.max()) == (0, 255)
    assert np.array_equal(together.numpy().transpose(0, 2, 3, 1), striped.images())
    assert torch.equal(torch.cat(list(reader)), together), "each loop starts anew"
    upright = next(iter(TorchReader(striped, batch_size=7, layout="NHWC")))
    assert np.array_equal(upright.numpy(), striped.images()[:7])
    assert upright.is_contiguous()


def test_a_last_batch_is_kept_dropped_or_filled_up(striped: CalibrationSet) -> None:
    sizes = {last: [len(batch) for batch in TorchReader(striped, last=last)] for last in ("keep", "drop", "pad")}
    assert sizes == {"keep": [50, 50, 30], "drop": [50, 50], "pad": [50, 50, 50]}
    images = striped.images()
    filled = list(TorchReader(striped, layout="NHWC", last="pad"))[-1].numpy()
    assert np.array_equal(filled, np.concatenate([images[100:], images[:20]]))
    (larger,) = TorchReader(striped, batch_size=300, layout="NHWC", last="pad")
    assert np.array_equal(larger.numpy(), np.concatenate([images, images, images[:40]]))
    with pytest.raises(UsageError, match="130 images, so that no batch of 131 is full"):
        TorchReader(striped, batch_size=131, last="drop")


def test_a_preparation_runs_on_bytes_or_floats_and_may_return_either_layout(striped: CalibrationSet) -> None:
    def upended(images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.float32
        return prepare(images).transpose(0, 3, 1, 2)

    from_bytes = TorchReader(striped, **RIGHT)
    from_floats = TorchReader(striped, takes="float32", preprocess=prepare, evaluation_set=EVALUATION)
    upended_reader = TorchReader(
        striped,
        takes="float32",
        returns="NCHW",
        preprocess=upended,
        expected=fingerprint(lambda pixels: upended(pixels.astype(np.float32))).preprocessing,
    )
    wanted = prepare(striped.pixels()).transpose(0, 3, 1, 2)
    for reader in (from_bytes, from_floats, upended_reader):
        assert np.array_equal(torch.cat(list(reader)).numpy(), wanted)
    assert from_bytes.feed.fingerprint == from_floats.feed.fingerprint == fingerprint(prepare).preprocessing


def test_another_preparation_than_that_of_the_set_or_the_evaluation_is_refused(striped: CalibrationSet) -> None:
    with pytest.raises(UsageError, match="preprocessing prepare and calibration set striped prepare images differ"):
        TorchReader(striped, preprocess=prepare)
    with pytest.raises(UsageError, match=f"raw images, float32 0 to 255, and evaluation set {EVALUATION}"):
        OnnxReader(striped, "x", evaluation_set=EVALUATION)
    with pytest.raises(UsageError, match=f"divided_once_more and evaluation set {EVALUATION}"):
        OnnxReader(striped, "x", preprocess=divided_once_more, evaluation_set=EVALUATION)
    with pytest.raises(UsageError, match="divided_once_more and what was expected"):
        TorchReader(striped, preprocess=divided_once_more, expected=fingerprint(prepare).preprocessing)
    with pytest.raises(UsageError, match=f"no evaluation set 'striped-tset'(.|\n)*did you mean {EVALUATION}"):
        TorchReader(striped, evaluation_set="striped-tset")
    with pytest.raises(UsageError, match="not both"):
        TorchReader(striped, evaluation_set=EVALUATION, expected="0")
    as_the_set = TorchReader(striped, preprocess=lambda pixels: pixels.astype(np.float32))
    assert torch.equal(next(iter(as_the_set)), next(iter(TorchReader(striped))))


def test_what_no_model_takes_is_refused_when_it_comes(striped: CalibrationSet) -> None:
    cases = {
        "gives float64": lambda pixels: pixels / 255,
        "return four axes": lambda pixels: pixels.reshape(len(pixels), -1).astype(np.float32),
        "not finite": lambda pixels: pixels.astype(np.float32) * np.inf if len(pixels) > 10 else pixels,
    }
    for message, preprocess in cases.items():
        with np.errstate(invalid="ignore"):
            reader = TorchReader(striped, **wrong(preprocess))
            with pytest.raises(UsageError, match=f"batch 0 of set striped: .*{message}"):
                next(iter(reader))


def test_an_error_of_the_preprocessing_is_told_with_its_batch(striped: CalibrationSet) -> None:
    def failing(pixels: np.ndarray) -> np.ndarray:
        if len(pixels) > 10:
            raise KeyError("mean")
        return pixels

    reader = TorchReader(striped, **wrong(failing))
    with pytest.raises(UsageError, match="failing, batch 0 of set striped: fails: KeyError: 'mean'"):
        next(iter(reader))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "at least 1 image, got 0"),
        ({"layout": "CHWN"}, "layout is one of NHWC, NCHW, got 'CHWN'"),
        ({"takes": "int8"}, "takes is one of uint8, float32, got 'int8'"),
        ({"last": "keep"}, "last is pad or drop, got 'keep'"),
    ],
)
def test_wrong_arguments_are_named(striped: CalibrationSet, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OnnxReader(striped, "x", **arguments)


def test_onnx_runtime_s_reader_gives_batches_of_one_shape_and_every_image(striped: CalibrationSet) -> None:
    reader = OnnxReader(striped, "pictures")
    assert isinstance(reader, CalibrationDataReader)
    batches = [batch["pictures"] for batch in reader]
    assert [batch.shape for batch in batches] == [(50, 3, 32, 32)] * len(reader)
    images = striped.images().transpose(0, 3, 1, 2)
    assert np.array_equal(np.concatenate(batches), np.concatenate([images, images[:20]]))
    assert (reader.feed.num_images, reader.feed.num_repeated) == (130, 20)
    dropping = OnnxReader(striped, "pictures", last="drop")
    assert (len(dropping), dropping.feed.num_images, dropping.feed.num_repeated) == (2, 100, 0)


def test_an_exhausted_reader_gives_nothing_until_it_is_rewound(striped: CalibrationSet) -> None:
    reader = OnnxReader(striped, "x")
    first = reader.get_next()["x"]
    assert sum(1 for _ in reader) == len(reader) - 1
    assert reader.get_next() is None
    assert reader.get_next() is None
    reader.rewind()
    assert np.array_equal(reader.get_next()["x"], first)
    reader.rewind()
    assert sum(1 for _ in reader) == len(reader)


def test_a_range_gives_its_batches_and_rewinding_ends_it(striped: CalibrationSet) -> None:
    reader = OnnxReader(striped, "x", batch_size=13)
    every = [batch["x"] for batch in reader]
    reader.set_range(start_index=4, end_index=6)
    inside = [batch["x"] for batch in reader]
    assert len(inside) == 2
    assert np.array_equal(inside, every[4:6])
    reader.rewind()
    assert sum(1 for _ in reader) == len(reader) == 10
    for start, end in ((-1, 2), (3, 3), (9, 11)):
        with pytest.raises(UsageError, match=f"has the batches 0 to 9, got the range {start} to {end}"):
            reader.set_range(start, end)


def one_convolution(path: Path) -> Path:
    """An ONNX model of one convolution that adds up the channels of each pixel."""
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "weight"], ["y"])],
        "sum",
        [onnx.helper.make_tensor_value_info("x", floats, ["n", 3, 32, 32])],
        [onnx.helper.make_tensor_value_info("y", floats, ["n", 1, 32, 32])],
        [onnx.helper.make_tensor("weight", floats, [1, 3, 1, 1], [1.0, 1.0, 1.0])],
    )
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 18)]), path)
    return path


def scale_of_input(quantized: Path) -> float:
    scales = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(quantized).graph.initializer}
    return float(scales["x_scale"])


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="least and greatest value"),
        pytest.param({"extra_options": {"CalibStridedMinMax": 2}}, id="the same by ranges"),
        pytest.param({"calibrate_method": CalibrationMethod.Percentile}, id="histogram, percentile"),
        pytest.param({"calibrate_method": CalibrationMethod.Entropy}, id="histogram, entropy"),
    ],
)
def test_every_way_of_calibration_takes_the_reader(
    striped: CalibrationSet, tmp_path: Path, settings: dict[str, object]
) -> None:
    model, quantized = one_convolution(tmp_path / "sum.onnx"), tmp_path / "int8.onnx"
    reader = OnnxReader(striped, "x", batch_size=35)
    quantize.with_onnx_runtime(model, reader, quantized, **settings)
    assert scale_of_input(quantized) == pytest.approx(1.0, rel=0.05), "steps of raw values"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A set that is four times what is read at once: 1,600 pictures of 16 MB, 67 MB as float32."""
    folder = tmp_path_factory.mktemp("large")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (1600, 59, 59, 3), dtype=np.uint8)
    np.savez(folder / "noise.npz", images=pixels, labels=np.arange(1600) % 2)
    lake = Lake(folder / "lake")
    build(lake, source="npz", data_dir=folder / "noise.npz", samples_per_class=800, name="noise")
    return lake


def test_only_a_few_images_are_in_memory_at_any_time(large: Lake) -> None:
    noise = open_set(large, "noise")
    as_float = 4 * noise.num_samples * 59 * 59 * 3
    assert as_float > 15 * BYTES_AT_ONCE
    reader = TorchReader(noise, batch_size=40)
    tracemalloc.start()
    try:
        seen = sum(len(batch) for batch in reader)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == 1600
    assert most < 5 * BYTES_AT_ONCE < as_float / 3


def test_a_batch_is_read_when_it_is_asked_for(large: Lake, tmp_path: Path) -> None:
    shutil.copytree(large.root, tmp_path / "copy")
    copy = Lake(tmp_path / "copy")
    reader = OnnxReader(open_set(copy, "noise"), "x", batch_size=40)
    assert reader.get_next()["x"].shape == (40, 3, 59, 59)
    for part in (tmp_path / "copy").rglob("*.parquet"):
        if "calibration_samples" in str(part):
            part.unlink()
    with pytest.raises(CorruptLakeError):
        for _ in reader:
            pass


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path) -> None:
    cases = {
        "onnxruntime": ("import groundlake.calibration.onnx_reader", "quantization"),
        "torch": ("from groundlake.calibration.torch_reader import TorchReader; TorchReader(None)", "measure"),
        "onnx": (
            "from groundlake.calibration.exporting import _to_ort; _to_ort(None, None, 'NHWC', 1)",
            "quantization",
        ),
        "PIL": ("from groundlake.calibration.sources import read; read('image_folder', '.')", "calibration"),
    }
    for library, (code, extra) in cases.items():
        program = (
            f"import sys; sys.modules[{library!r}] = None\n"
            "from groundlake.errors import MissingDependencyError\n"
            f"try:\n    {code}\nexcept MissingDependencyError as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert library in done.stdout
        assert f"pip install 'groundlake[{extra}]'" in done.stdout


def test_importing_the_reader_for_pytorch_loads_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys, groundlake.calibration.torch_reader, groundlake.calibration.small_net.pictures\n"
        "print(*({'torch', 'onnx', 'onnxruntime', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == []


def test_a_feed_says_how_many_batches_there_are_before_it_reads_any(striped: CalibrationSet) -> None:
    feed = make_feed(striped, batch_size=130, layout="NHWC", last="keep")
    assert (len(feed), feed.num_images, feed.num_repeated) == (1, 130, 0)
    assert feed.fingerprint == striped.preprocessing_fingerprint
