"""`lake ingest` of models that are no plain classifiers: encoders, a newer torchvision model, a model's own input."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    find_spec("torch") is None, reason="torch is not installed: pip install 'groundlake[measure]'"
)

OPTIONS = (
    "--hw",
    "my_box",
    "--device",
    "cpu",
    "--batches",
    "2",
    "--warmup",
    "0",
    "--runs",
    "2",
    "--power",
    "none",
    "--wait",
)

OWN = """
import torch


def words():
    return torch.nn.Embedding(50, 4)


words.example_input = lambda batch: torch.randint(50, (batch, 7))
"""

NO_NETWORK = """
import sys


def refuse(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        raise OSError(f"this test allows no network: {event} {args}")
    if event == "socket.connect" and isinstance(args[1], tuple):  # a pair of host and port, not a path
        raise OSError(f"this test allows no network: {event} {args}")


sys.addaudithook(refuse)
"""

NO_TRANSFORMERS = "import sys\nsys.modules['transformers'] = None\n"


@pytest.fixture
def environment(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Make an environment in which `own_net:words` is a model, and each process begins with the given code."""

    def make(code: str) -> dict[str, str]:
        folder = tmp_path / "modules"
        folder.mkdir()
        (folder / "own_net.py").write_text(OWN)
        (folder / "sitecustomize.py").write_text(code)
        return {"PYTHONPATH": str(folder)}

    return make


@pytest.fixture
def transformers_ready(need: Callable[..., None]) -> None:
    present = find_spec("transformers") is not None
    need("transformers", present=present, reason="transformers is missing: pip install 'groundlake[transformers]'")


@pytest.mark.slow
@pytest.mark.usefixtures("transformers_ready")
def test_an_encoder_a_newer_classifier_and_an_own_input_are_measured_without_the_network(
    cli: Callable, lake_root: Path, environment: Callable[[str], dict[str, str]]
) -> None:
    models = "bert_tiny,squeezenet1_1,own_net:words"
    done = cli("ingest", "--models", models, "--precisions", "fp32", *OPTIONS, **environment(NO_NETWORK))
    assert done.stdout.splitlines()[0].startswith("my_box: 3 measured, 0 failed")
    lake = Lake(lake_root)
    runs = lake.runs("my_box").filter(kind="efficiency").sort("model")
    assert runs.select("model", "status", "flops_method", "input_shape").rows() == [
        ("bert_tiny", "ok", "export_chain_v1", [2, 128]),
        ("own_net:words", "ok", "fx_chain_v1", [2, 7]),
        ("squeezenet1_1", "ok", "fx_chain_v1", [2, 3, 224, 224]),
    ]
    timings = lake.frame("subgraph_timings", model="bert_tiny")
    assert timings["flops"].sum() > 2 * 2 * 128 * 2 * 12 * 128 * 128  # the linear layers alone
    assert timings["latency_mean_ms"].min() > 0


@pytest.mark.usefixtures("transformers_ready")
def test_an_input_shape_of_one_number_sets_the_length_and_is_refused_by_a_model_that_makes_its_own_input(
    cli: Callable, lake_root: Path, environment: Callable[[str], dict[str, str]]
) -> None:
    models = ("--models", "bert_tiny,own_net:words", "--precisions", "bf16", "--input-shape", "16")
    cli("ingest", *models, *OPTIONS, code=1, **environment(""))
    runs = Lake(lake_root).runs("my_box").filter(kind="efficiency").sort("model")
    assert runs.select("model", "status").rows() == [("bert_tiny@16", "ok"), ("own_net:words@16", "failed")]
    assert runs["input_shape"].to_list()[0] == [2, 16]
    assert "makes its own input" in runs["error"].to_list()[1]


@pytest.mark.slow
def test_a_sweep_in_which_every_run_would_fail_is_refused_before_the_first(
    cli: Callable, lake_root: Path, environment: Callable[[str], dict[str, str]]
) -> None:
    own = environment("")
    models = ("ingest", "--models", "own_net:words", *OPTIONS)
    assert "makes its own input" in cli(*models, "--input-shape", "16", code=2, **own).stderr
    assert "precision 'int4' cannot be measured" in cli(*models, "--precisions", "int4", code=2, **own).stderr
    both = cli(*models, "--precisions", "int4,tf32", "--dry-run", code=2, **own).stderr
    assert both.startswith("error: no run of this sweep can come to a result\n")
    assert "tf32 is a mode of CUDA devices" in both
    assert "did you mean: own_net:words" in cli("ingest", "--models", "own_net:wrds", *OPTIONS, code=2, **own).stderr
    assert not lake_root.exists()


def test_a_model_with_inputs_of_another_shape_is_another_configuration(
    cli: Callable, lake_root: Path, environment: Callable[[str], dict[str, str]]
) -> None:
    own = environment("")
    plain = ("ingest", "--models", "squeezenet1_1", *OPTIONS)
    assert "1 measured" in cli(*plain, "--input-shape", "3,64,64", **own).stdout
    assert "1 measured, 0 failed, 0 in the lake already" in cli(*plain, **own).stdout
    for held in ((*plain, "--input-shape", "3,64,64"), ("ingest", "--models", "squeezenet1_1@3x64x64", *OPTIONS)):
        assert (
            "0 measured, 0 failed, 1 in the lake already\n  to measure again: --repeat 1\n" in cli(*held, **own).stdout
        )
    found = Lake(lake_root).sql("select model, total_flops from model_summary order by model").rows()
    assert [model for model, _ in found] == ["squeezenet1_1", "squeezenet1_1@3x64x64"]
    assert found[0][1] > 5 * found[1][1]


def test_an_encoder_without_transformers_is_refused_before_the_first_run(
    cli: Callable, lake_root: Path, environment: Callable[[str], dict[str, str]]
) -> None:
    refused = cli("ingest", "--models", "own_net:words,bert_tiny", *OPTIONS, code=3, **environment(NO_TRANSFORMERS))
    assert "pip install 'groundlake[transformers]'" in refused.stderr
    assert refused.stdout == ""
    assert not lake_root.exists()
