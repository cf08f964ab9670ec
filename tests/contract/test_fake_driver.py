"""The drivers that tests make up have the calls of the real module `pynvml`, with its parameters and constants."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: pip install 'groundlake[measure]'")

TESTS = Path(__file__).resolve().parents[1]


def fakes() -> dict[str, ast.Module]:
    """Every text in the tests that defines calls of NVML, parsed, by where it stands; braces to fill are left out."""
    found = {}
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.search(r"^def nvml", node.value, re.MULTILINE)
            ):
                text = re.sub(r"\{\w+(![rsa])?\}", "None", node.value)
                found[f"{path.relative_to(TESTS)}:{node.lineno}"] = ast.parse(text)
    return found


FAKES = fakes()


def test_the_drivers_of_the_tests_are_found() -> None:
    named = {place.partition(":")[0] for place in FAKES}
    assert {f"unit/test_{name}.py" for name in ("system", "hardware_detection", "power", "preflight", "load")} <= named


@pytest.mark.parametrize("place", FAKES)
def test_calls_have_the_names_and_the_parameters_of_the_real_ones(place: str) -> None:
    calls = [node for node in FAKES[place].body if isinstance(node, ast.FunctionDef) and node.name.startswith("nvml")]
    assert calls
    for call in calls:
        real = inspect.signature(getattr(pynvml, call.name)).parameters.values()
        named = [parameter.name for parameter in real]
        needed = sum(parameter.default is parameter.empty for parameter in real)
        own = [argument.arg for argument in call.args.args]
        assert (call.name, own) == (call.name, named)
        assert (call.name, len(own) - len(call.args.defaults)) == (call.name, needed)


@pytest.mark.parametrize("place", FAKES)
def test_constants_have_the_values_of_the_real_ones(place: str) -> None:
    for node in FAKES[place].body:
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            for number, name in enumerate(names):
                if isinstance(name, ast.Name) and name.id.startswith("NVML_"):
                    value = node.value.elts[number] if isinstance(node.value, ast.Tuple) else node.value
                    assert (name.id, ast.literal_eval(value)) == (name.id, getattr(pynvml, name.id))


def test_an_error_of_the_driver_is_the_one_that_is_caught() -> None:
    assert issubclass(pynvml.NVMLError, Exception)
