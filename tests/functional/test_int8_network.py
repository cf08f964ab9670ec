"""Networks that are really quantized: which kernels run, which parts they have, and what is no int8 at all."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cifar import pictures, write_cifar10

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")
pytest.importorskip("torch.ao.quantization.quantize_fx", reason="this torch quantizes no more")

from torch import nn  # noqa: E402 - after the skip
from torch.nn import functional  # noqa: E402 - the same

from groundlake.calibration.building import build  # noqa: E402 - the same
from groundlake.calibration.registering import register_evaluation  # noqa: E402 - the same
from groundlake.calibration.small_net import load_network, prepare  # noqa: E402 - the same
from groundlake.errors import LakeError, MissingDependencyError, TraceError, UsageError  # noqa: E402 - the same
from groundlake.measure.engine import check, measure  # noqa: E402 - the same
from groundlake.measure.int8.kernels import doubts_about_share, int8_kernels  # noqa: E402 - the same
from groundlake.measure.int8.parts import in_quantized  # noqa: E402 - the same
from groundlake.measure.int8.prepare import int8_workload  # noqa: E402 - the same
from groundlake.measure.int8.quantize import (  # noqa: E402 - the same
    bytes_of,
    count_right,
    quantize,
    quantized_engine,
    relative_output_error,
    stored_bytes,
    usable_engine,
)
from groundlake.measure.int8.settings import choose_int8  # noqa: E402 - the same
from groundlake.measure.messages import Job, Question  # noqa: E402 - the same
from groundlake.measure.plan import Configuration  # noqa: E402 - the same
from groundlake.measure.trace import trace  # noqa: E402 - the same
from groundlake.store import Lake  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from groundlake.measure.int8.quantize import Quantized

ENGINE = next((each for each in ("onednn", "qnnpack") if each in torch.backends.quantized.supported_engines), None)
pytestmark = [
    pytest.mark.slow,  # together they take minutes
    pytest.mark.skipif(ENGINE is None, reason="this torch has no engine for int8"),
]
IMAGES = torch.from_numpy(np.ascontiguousarray(prepare(pictures(1)[0]).transpose(0, 3, 1, 2)))[:2]
SMALL = "groundlake.calibration.small_net:small_net"


class Joined(nn.Module):
    """Sums and a product of two branches, activations that stay in fp32, and a method between modules."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.silu, self.relu = nn.SiLU(), nn.ReLU()
        self.last = nn.Linear(8, 4)

    def forward(self, x):
        left, right = self.left(x), self.right(x)
        gated = left * self.silu(right)
        x = self.relu(gated + left)
        x += right
        return self.last(x.mean((2, 3)))


class FunctionalReLU(nn.Module):
    """Its ReLU is a function: a part of its own in fp32, and merged into the convolution in int8."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return functional.relu(self.conv(x))


class Reading(nn.Module):
    """Uses its weights as functions do, so that the engine packs them as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5, 3 * 32 * 32))

    def forward(self, x):
        return functional.linear(torch.flatten(x, 1), self.weight)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made(module: nn.Module) -> Quantized:
    """Quantize a network with the two images."""
    return quantize(module.eval(), IMAGES[:1], [IMAGES], str(ENGINE))


@pytest.fixture
def engine() -> Iterator[str]:
    before = torch.backends.quantized.engine
    with quantized_engine(ENGINE):
        yield str(ENGINE)
    assert torch.backends.quantized.engine == before


def test_int8_convolutions_run_and_nothing_of_what_torch_announces_is_told(
    engine: str, recwarn: pytest.WarningsRecorder
) -> None:
    net = load_network()
    network = made(net).network
    kernels = int8_kernels(network, IMAGES[:1])
    assert {"quantized::conv2d", "quantized::conv2d_relu", "quantized::linear"} <= set(kernels.names)
    assert 0 < kernels.time_share <= 1
    assert all("::" in name and "dequantize" not in name for name in kernels.names)
    assert list(recwarn) == []
    assert not any("quantized" in type(module).__module__ for module in net.modules()), (
        "the network itself is untouched"
    )
    error = relative_output_error(net, network, [IMAGES])
    assert error is not None
    assert 0 < error < 0.2
    before, after = stored_bytes(net), stored_bytes(network)
    assert before is not None
    assert after is not None
    assert 3 < before / after < 4.1


def test_the_parts_of_an_int8_network_are_those_of_fp32(engine: str) -> None:
    net = load_network()
    traced = trace(net, IMAGES[:1])
    parts = traced.subgraphs()
    counted, timed = in_quantized(traced.graph_module.graph, parts, made(net).network, IMAGES[:1])
    same = ("subgraph_id", "fusion_pattern", "operation_type", "node_names", "flops")
    assert [[getattr(part, name) for name in same] for part in counted] == [
        [getattr(part, name) for name in same] for part in parts
    ]
    nodes = [part.node_names for part in timed]
    assert nodes[0] == ("quantize_per_tensor", "stem"), "the input is converted for the part that reads it"
    assert [part.node_names for part in parts if part.fusion_pattern == "add_ReLU"] == [
        ("add", "blocks_0_relu"), ("add_1", "blocks_1_relu"), ("add_2", "blocks_2_relu")
    ]  # fmt: skip
    assert [names for names in nodes if names[0].startswith("add")] == [("add_relu",), ("add_relu_1",), ("add_relu_2",)]
    assert nodes[-1][0] == "classifier"
    assert nodes[-1][-1].startswith("dequantize")


def test_bytes_are_those_that_the_int8_network_moves(engine: str) -> None:
    net = load_network()
    traced = trace(net, IMAGES[:1])
    counted, _ = in_quantized(traced.graph_module.graph, traced.subgraphs(), made(net).network, IMAGES[:1])
    scalars = 4 + 8  # the scale and the zero point of an output
    stem = 3 * 32 * 32 * 4 + scalars + 3 * 32 * 32 * 0 + 16 * 32 * 32
    weights = 16 * 3 * 9 + 16 * (8 + 8) + 16 * 4  # each channel has a scale and a zero point; the bias stays fp32
    assert counted[0].total_bytes == stem + weights
    (add,) = [part for part in counted if part.node_names == ("add", "blocks_0_relu")]
    assert add.total_bytes == 3 * 16 * 16 * 16 + scalars
    assert counted[0].total_bytes < traced.subgraphs()[0].total_bytes


def test_parts_are_found_by_what_they_read_where_their_names_are_others(engine: str) -> None:
    net = Joined()
    traced = trace(net.eval(), IMAGES[:1])
    parts = traced.subgraphs()
    network = made(net).network
    _, timed = in_quantized(traced.graph_module.graph, parts, network, IMAGES[:1])
    of = {part.node_names: names.node_names for part, names in zip(parts, timed, strict=True)}
    plain = {names: [name.rsplit("_", 1)[0] for name in found] for names, found in of.items()}
    assert "mul" in plain[("mul",)]
    assert "add" in plain[("add", "relu")] or "add_relu" in of[("add", "relu")]
    assert of[("silu",)]
    assert all("silu" in name or "quantize" in name for name in of[("silu",)])
    every = [name for names in of.values() for name in names]
    assert len(every) == len(set(every)), "no operation is timed twice"
    left = [node.name for node in network.graph.nodes if node.op in ("call_module", "call_function")]
    assert set(left) <= set(every), "every module and function belongs to a part"


def test_parts_that_quantization_merged_are_not_timed_singly(engine: str) -> None:
    traced = trace(FunctionalReLU().eval(), IMAGES[:1])
    assert len(traced.subgraphs()) == 2
    network = made(FunctionalReLU()).network
    with pytest.raises(TraceError, match="relu is merged into conv, which is another part"):
        in_quantized(traced.graph_module.graph, traced.subgraphs(), network, IMAGES[:1])


def test_a_network_that_reads_something_else_is_not_taken_for_the_same(engine: str) -> None:
    class Swapped(Joined):
        def forward(self, x):
            left, right = self.left(x), self.right(x)
            gated = left * self.silu(right)
            x = self.relu(gated + right)
            x += left
            return self.last(x.mean((2, 3)))

    traced = trace(Joined().eval(), IMAGES[:1])
    with pytest.raises(TraceError, match="does not read what"):
        in_quantized(traced.graph_module.graph, traced.subgraphs(), made(Swapped()).network, IMAGES[:1])


def test_packed_weights_are_counted_too(engine: str) -> None:
    network = made(Reading()).network
    assert any(isinstance(value, torch.ScriptObject) for value in network.state_dict().values())
    size = stored_bytes(network)
    assert size is not None
    assert 5 * 3072 <= size <= 5 * 3072 + 500
    assert bytes_of([torch.zeros(3), (None, torch.float32), "text"]) == 12
    assert bytes_of([torch.zeros(3), object()]) is None


def test_a_network_without_int8_kernels_is_fp32_under_another_name(engine: str) -> None:
    network = made(nn.Sequential(nn.SiLU(), nn.Tanh())).network
    with pytest.raises(LakeError, match=r"no kernel of the model ran as int8: it would be fp32 under another name"):
        int8_kernels(network, IMAGES[:1])


@pytest.mark.parametrize(("share", "codes"), [(0.49, ["mostly_not_int8"]), (0.5, [])])
def test_a_run_that_is_mostly_something_else_is_warned_about(share: float, codes: list[str]) -> None:
    found = list(doubts_about_share(share))
    assert [doubt.code for doubt in found] == codes


def test_a_model_that_cannot_be_traced_is_refused_with_the_reason(engine: str) -> None:
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(
        TraceError, match=r"cannot be quantized to int8: it is not prepared: TraceError.*\n  graph mode"
    ):
        made(Branching())


def test_where_torch_quantizes_no_more_int8_is_missing_and_nothing_else(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)
    with pytest.raises(
        MissingDependencyError, match=r"int8 needs torch\.ao\.quantization, which torch .* does not have"
    ):
        usable_engine(str(ENGINE))
    with pytest.raises(MissingDependencyError, match=r"torch\.ao\.quantization"):
        made(nn.Conv2d(3, 4, 3))
    chosen = choose_int8(lake, calibration_set="stripes")
    with pytest.raises(MissingDependencyError, match=r"torch\.ao\.quantization"):
        check(Question((Configuration(SMALL, "int8", 1),), "cpu", chosen))
    fp32 = Job(model=SMALL, precision="fp32", batch=1, device="cpu", warmup=0, runs=1)
    assert check(Question((Configuration(SMALL, "fp32", 1),), "cpu", chosen)) == {SMALL: None}
    assert measure(fp32, lambda *_: None).end_to_end_ms


def test_an_engine_that_this_torch_lacks_is_refused_by_name() -> None:
    with pytest.raises(MissingDependencyError, match=f"--int8-engine tensorrt: .*\n  it has .*{ENGINE}"):
        usable_engine("tensorrt")


def test_where_nobody_named_an_engine_the_first_that_is_there_is_taken() -> None:
    assert usable_engine("tensorrt", is_default=True) == ENGINE
    assert usable_engine("x86", is_default=True) == "x86"


def test_outputs_that_cannot_be_compared_have_no_error() -> None:
    assert relative_output_error(lambda x: x * 0, lambda x: x, [IMAGES]) is None
    assert relative_output_error(lambda x: [x], lambda x: [x], [IMAGES]) is None
    assert relative_output_error(lambda x: x, lambda x: x * 1.5, [IMAGES, IMAGES]) == pytest.approx(0.5)


def test_accuracy_needs_scores() -> None:
    labels = torch.tensor([1, 0])
    scores = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert count_right(lambda _: scores, [(IMAGES, labels), (IMAGES, labels)]) == 2
    with pytest.raises(LakeError, match=r"accuracy needs scores.*shape \(2, 3, 32, 32\)"):
        count_right(lambda x: x, [(IMAGES, labels)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("int8")


@pytest.fixture(scope="module")
def lake(folder: Path) -> Lake:
    """A calibration set of twenty pictures, and twenty others that accuracy is of."""
    data = write_cifar10(folder / "cifar", per_class=5, test_per_class=2)
    lake = Lake(folder / "lake")
    build(lake, source="cifar10", data_dir=data, samples_per_class=2, name="stripes")
    register_evaluation(lake, "test", data, "groundlake.calibration.small_net:prepare")
    return lake


def test_a_measured_network_tells_what_it_was_made_with_and_what_that_cost(lake: Lake, folder: Path) -> None:
    chosen = choose_int8(
        lake, calibration_set="stripes", engine=str(ENGINE), evaluation_set="test", evaluation_data=folder / "cifar"
    )
    job = Job(model=SMALL, precision="int8", batch=2, device="cpu", warmup=0, runs=2, int8=chosen)
    seen: dict[str, list[int]] = {}
    measured = measure(job, lambda phase, done, total: seen.setdefault(phase, []).extend((done, total)))
    assert seen["calibration images"] == [20, 20]
    assert seen["evaluation images"] == [20, 40, 40, 40]
    found = measured.int8
    assert found is not None
    assert (found.num_calibration_samples, found.num_evaluated) == (20, 20)
    assert found.backend == f"torch {torch.__version__}, FX graph mode, {ENGINE}"
    assert "quantized::conv2d" in found.int8_kernels
    assert found.accuracy_before is not None
    assert found.accuracy_after is not None
    assert found.accuracy_before > 0.5, "prepared as the network was trained"
    assert abs(found.accuracy_after - found.accuracy_before) <= 0.15
    fp32 = measure(Job(model=SMALL, precision="fp32", batch=2, device="cpu", warmup=0, runs=2), lambda *_: None)
    assert fp32.int8 is None
    assert measured.flops_method.startswith("fx_chain_v1+int8_bytes.")
    assert fp32.flops_method == "fx_chain_v1"
    assert [part.node_names for part in measured.subgraphs] == [part.node_names for part in fp32.subgraphs]
    assert (measured.total_flops, measured.timing_method) == (fp32.total_flops, fp32.timing_method)
    assert [len(samples) for samples in measured.subgraph_ms] == [2] * len(fp32.subgraphs)
    words = found.in_words(chosen)
    assert words.startswith("int8 with set stripes (20 images prepared by groundlake.calibration.small_net:prepare), ")
    assert f"; accuracy {found.accuracy_before:.3f} -> {found.accuracy_after:.3f}" in words


def test_raw_images_that_the_network_never_saw_show_in_its_outputs(lake: Lake, engine: str) -> None:
    net = load_network()
    raw = choose_int8(lake, calibration_set="stripes", engine=engine)
    right = choose_int8(lake, calibration_set="stripes", engine=engine, evaluation_set="test")
    shares = []
    for chosen in (raw, right):
        network = int8_workload(net, IMAGES[:1], chosen, name="small").traced.module
        shares.append(relative_output_error(net, network, [IMAGES]))
    assert shares[0] > 2 * shares[1]


def test_a_model_whose_input_has_another_size_is_refused_when_it_is_known(lake: Lake) -> None:
    chosen = choose_int8(lake, calibration_set="stripes", engine=str(ENGINE))
    with pytest.raises(
        UsageError, match=r"takes inputs of 3x64x64, and the images of calibration set stripes are 3x32x32"
    ):
        check(Question((Configuration(f"{SMALL}@3x64x64", "int8", 1),), "cpu", chosen))
    assert check(Question((Configuration(SMALL, "int8", 1),), "cpu", chosen)) == {SMALL: None}
    with pytest.raises(UsageError, match="takes inputs of 3x8x8"):
        int8_workload(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8), chosen, name="own:net")


def test_a_processor_without_instructions_for_int8_is_warned_about(
    lake: Lake, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = choose_int8(lake, calibration_set="stripes", engine=engine)
    codes = []
    for has_them in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda has_them=has_them: has_them)
        work = int8_workload(load_network(), IMAGES[:1], chosen, name="small")
        codes.append([doubt.code for doubt in work.warnings if doubt.code == "int8_may_overflow"])
    assert codes == ([[], ["int8_may_overflow"]] if engine == "onednn" else [[], []])


def test_where_parts_are_merged_the_whole_model_is_timed_and_says_why(lake: Lake, engine: str) -> None:
    work = int8_workload(FunctionalReLU(), IMAGES[:1], choose_int8(lake, calibration_set="stripes"), name="own:net")
    assert (work.timed, work.subgraphs) == (None, ())
    assert work.total_flops > 2 * 4 * 30 * 30 * 27
    assert [doubt.code for doubt in work.warnings][-1] == "parts_not_timed"
    assert "relu is merged into conv" in str(work.warnings[-1])
