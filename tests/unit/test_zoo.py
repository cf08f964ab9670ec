"""Models by name: the newer torchvision ones, encoders from configurations, and models that make their own input."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")

from torch import nn  # noqa: E402 - after the skip
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402 - the same

from groundlake.errors import MissingDependencyError, UsageError  # noqa: E402 - the same
from groundlake.measure.encoder_table import DEFAULT_LENGTH, ENCODERS  # noqa: E402 - the same
from groundlake.measure.encoders import ATTENTION, import_transformers  # noqa: E402 - the same
from groundlake.measure.plan import FULL_BATCHES  # noqa: E402 - the same
from groundlake.measure.trace import trace  # noqa: E402 - the same
from groundlake.measure.zoo import check_names, load_model, require_input  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from groundlake.measure.cut import Subgraph

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"

TORCHVISION = ("squeezenet1_1", "shufflenet_v2_x1_0", "densenet121", "convnext_tiny", "swin_t")

UNCOUNTED = {"swin_t": 0.34}
"""Share of a model's FLOPs that fx_chain_v1 leaves out: the attention of a swin is one function of torchvision."""

TOLERANCE = 0.011
"""torch counts products alone; we also count additions and softmax, which are most in the smallest model."""

PUBLISHED_PARAMETERS = {
    "bert_tiny": 4_385_920,
    "bert_base": 109_482_240,
    "bert_large": 335_141_888,
    "minilm_l6": 22_713_216,
    "roberta_base": 124_645_632,
    "albert_base": 11_683_584,
    "distilbert_base": 66_362_880,
    "electra_small": 13_483_008,
}
"""Of the published checkpoints, pooler included where there is one."""


@pytest.fixture
def transformers_ready(need: Callable[..., None]) -> None:
    present = find_spec("transformers") is not None
    need("transformers", present=present, reason="transformers is missing: pip install 'groundlake[transformers]'")


def cut_and_count(name: str, precision: torch.dtype = torch.float32) -> tuple[str, tuple[Subgraph, ...], float]:
    """Cut a model on the meta device; its flops_method, subgraphs, and our FLOPs as a multiple of torch's own count."""
    loaded = load_model(name, device="meta")
    example = loaded.example(1, dtype=precision, device="meta")
    traced = trace(loaded.module.to(precision), example)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        loaded.module(example)
    found = traced.subgraphs()
    return traced.flops_method, found, sum(each.flops for each in found) / counter.get_total_flops()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", TORCHVISION)
def test_a_newer_torchvision_model_is_cut_and_counts_what_torch_counts(name: str, precision: torch.dtype) -> None:
    method, found, ratio = cut_and_count(name, precision)
    assert method == "fx_chain_v1"
    assert len(found) >= 40
    assert ratio == pytest.approx(1 - UNCOUNTED.get(name, 0), abs=0.002)


def test_what_a_swin_lacks_is_the_function_that_holds_its_attention() -> None:
    _, found, _ = cut_and_count("swin_t")
    attention = [each for each in found if any("shifted_window_attention" in node for node in each.node_names)]
    assert len(attention) == 12
    assert {each.flops for each in attention} == {0}


@pytest.mark.usefixtures("transformers_ready")
@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "bert_large"])
def test_an_encoder_is_exported_and_counts_what_torch_counts(name: str) -> None:
    method, found, ratio = cut_and_count(name)
    assert method == "export_chain_v1"
    assert [each.subgraph_id for each in found] == list(range(len(found)))
    assert 1 < ratio < 1 + TOLERANCE
    assert any(each.fusion_pattern.startswith("Linear") for each in found)


@pytest.mark.usefixtures("transformers_ready")
@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_has_the_parameters_of_the_published_one_without_its_pooler(name: str) -> None:
    encoder = ENCODERS[name]
    width = encoder.settings.get("hidden_size", 0)
    pooler = (width + 1) * width if encoder.pooler else 0
    parameters = load_model(name, device="meta").module.parameters()
    assert sum(each.numel() for each in parameters) == PUBLISHED_PARAMETERS[name] - pooler


@pytest.mark.usefixtures("transformers_ready")
def test_an_encoder_takes_token_ids_of_its_vocabulary_in_any_precision() -> None:
    loaded = load_model("bert_tiny")
    ids = loaded.example(64, dtype=torch.bfloat16, device="cpu")
    assert loaded.input_shape == (DEFAULT_LENGTH,)
    assert (ids.dtype, tuple(ids.shape)) == (torch.int64, (64, DEFAULT_LENGTH))
    assert 0 <= int(ids.min()) < int(ids.max()) < ENCODERS["bert_tiny"].vocabulary
    with torch.no_grad():
        hidden = loaded.module.to(torch.bfloat16)(ids[:2])
    assert (hidden.dtype, tuple(hidden.shape)) == (torch.bfloat16, (2, DEFAULT_LENGTH, 128))


@pytest.mark.usefixtures("transformers_ready")
def test_the_graph_of_an_encoder_has_no_mask_and_gives_what_the_model_gives() -> None:
    loaded = load_model("bert_tiny", input_shape=(16,))
    ids = loaded.example(2, dtype=torch.float32, device="cpu")
    traced = trace(loaded.module, ids)
    attention = [node for node in traced.graph_module.graph.nodes if "scaled_dot_product_attention" in str(node.target)]
    assert len(attention) == 2
    assert all(len(node.all_input_nodes) == 3 for node in attention), "query, key and value, and no mask"
    with torch.no_grad():
        assert torch.equal(traced.graph_module(ids), loaded.module(ids))


@pytest.mark.usefixtures("transformers_ready")
def test_attention_without_a_mask_equals_the_one_that_the_library_takes_itself() -> None:
    loaded = load_model("bert_tiny", input_shape=(16,))
    ids = loaded.example(2, dtype=torch.float32, device="cpu")
    encoder = loaded.module.encoder
    assert encoder.config._attn_implementation == ATTENTION
    with torch.no_grad():
        ours = loaded.module(ids)
        encoder.set_attn_implementation("sdpa")
        assert torch.equal(ours, loaded.module(ids))


@pytest.mark.usefixtures("transformers_ready")
def test_an_input_shape_of_one_number_is_the_length_of_the_sequence() -> None:
    assert load_model("roberta_base", device="meta", input_shape=(512,)).input_shape == (512,)
    for shape in ((513,), (0,), (3, 224, 224)):
        with pytest.raises(UsageError, match="sequence of 1 to 512 tokens"):
            load_model("roberta_base", device="meta", input_shape=shape)


def test_an_encoder_without_transformers_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    check_names(["resnet18"])
    with pytest.raises(MissingDependencyError, match=r"pip install 'groundlake\[transformers\]'"):
        check_names(["resnet18", "bert_base"])


def test_a_transformers_that_breaks_while_it_is_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "transformers.py").write_text("import a_part_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError, match="cannot be imported: No module named 'a_part_that_is_missing'"):
        import_transformers()


@pytest.mark.parametrize(("wrong", "meant"), [("bert_bas", "bert_base"), ("resnt18", "resnet18")])
def test_an_unknown_name_is_told_its_neighbours_and_where_all_names_are(wrong: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_names([wrong])
    assert meant in str(caught.value)
    assert "docs/models.md" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 6


OWN = """
import torch
from torch import nn

class Words(nn.Module):
    input_shape = (3, 224, 224)

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 4)

    def forward(self, ids):
        return self.table(ids)

    def example_input(self, batch):
        return torch.randint(50, (batch, 7))

def by_factory():
    return nn.Linear(5, 2)

by_factory.example_input = lambda batch: torch.ones(batch, 6, 5, dtype=torch.float64)

def short():
    return nn.Linear(5, 2)

short.example_input = lambda batch: torch.ones(5)

def constant():
    return nn.Linear(5, 2)

constant.example_input = torch.ones(1, 5)

def with_sizes(inputs, outputs, bias=True):
    return nn.Linear(inputs, outputs, bias)

five = 5
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Module with models that make their own input."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_models_for_zoo.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield "own_models_for_zoo"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("by_factry", "has no 'by_factry'\n  did you mean: own_models_for_zoo:by_factory"),
        ("zzz", "has no 'zzz'\n  it has Words, by_factory, short, constant, with_sizes"),
        ("with_sizes", "a factory takes no arguments, and 'with_sizes' needs inputs, outputs\n  wrap it in a function"),
        ("five", "'five' is an int, not a function"),
    ],
)
def test_a_name_that_leads_to_no_factory_is_told_once_what_is_there(own: str, name: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_names(["resnet18", f"{own}:{name}"])
    assert told in str(caught.value)
    assert str(caught.value).count(f"'{name}'") == 1


def test_a_module_that_is_not_there_or_breaks_is_told_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaking_models.py").write_text("import a_part_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="there is no module 'no_such_models' to import"):
        check_names(["no_such_models:x"])
    with pytest.raises(UsageError, match=r"cannot be imported: ModuleNotFoundError: .*'a_part_that_is_missing'"):
        check_names(["breaking_models:x"])


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("bert_tiny", (3, 64, 64), "sequence of 1 to 512 tokens"),
        ("resnet18", (16,), "images of 3 channels, got the input shape 16"),
        ("resnet18", (1, 64, 64), "images of 3 channels"),
        ("own_models_for_zoo:by_factory", (16,), "makes its own input"),
    ],
)
def test_a_shape_that_a_model_cannot_take_is_known_before_it_is_built(
    own: str, name: str, shape: tuple[int, ...], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        require_input(name, shape)
    for fitting in (("bert_tiny", (16,)), ("resnet18", (3, 160, 160)), (f"{own}:Words", None)):
        require_input(*fitting)


def test_a_module_makes_its_own_input_whatever_shape_it_names(own: str) -> None:
    loaded = load_model(f"{own}:Words")
    ids = loaded.example(3, dtype=torch.bfloat16, device="cpu")
    assert loaded.input_shape == (7,)
    assert (ids.dtype, tuple(ids.shape)) == (torch.int64, (3, 7))
    assert isinstance(loaded.module, nn.Module)


def test_the_own_input_of_a_factory_takes_the_precision_and_device_of_the_run(own: str) -> None:
    loaded = load_model(f"{own}:by_factory", device="meta")
    example = loaded.example(3, dtype=torch.float16, device="meta")
    assert (example.dtype, tuple(example.shape), example.device.type) == (torch.float16, (3, 6, 5), "meta")


def test_an_input_shape_for_a_model_that_makes_its_own_input_is_refused(own: str) -> None:
    with pytest.raises(UsageError, match="makes its own input"):
        load_model(f"{own}:Words", input_shape=(9,))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("short", r"example_input\(1\) must return a tensor with batch 1 first, got shape \(5,\)"), ("constant", "not a")],
)
def test_an_own_input_that_is_of_no_use_says_what_it_must_be(own: str, name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load_model(f"{own}:{name}")


def test_the_page_on_models_lists_every_encoder_with_its_configuration() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+Config)` \| ([^|]*) \|$", PAGE.read_text(), flags=re.MULTILINE)
    listed = {name: (config, tuple(re.findall(r"`(\w+)=(\d+)`", text))) for name, config, text in rows}
    assert listed == {
        name: (encoder.config, tuple((key, str(value)) for key, value in encoder.settings.items()))
        for name, encoder in ENCODERS.items()
    }


def test_the_page_on_models_names_the_default_length_and_every_tested_model() -> None:
    text = PAGE.read_text()
    assert f"{DEFAULT_LENGTH} tokens" in text
    for name in (*FULL_BATCHES, *TORCHVISION):
        assert f"`{name}`" in text
