"""JSON and YAML nested ten thousand deep, or swollen by aliases, end in an error that names the file: in every command.

Calibration sets are read from pictures and arrays, and take neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Cli

LEVELS = 10_000
BRACKETS = "[" * LEVELS + "]" * LEVELS
BRACES = '{"a":' * LEVELS + "1" + "}" * LEVELS
JUST_BORNE = "[" * 980 + "]" * 980
"""Python reads it, and can do little with it after."""

ALIASES = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n"
    for before, name in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{number}: &a{number} [*a{number - 1}]\n" for number in range(1, 200))
DEEP = {"brackets": BRACKETS, "braces": BRACES, "just borne": JUST_BORNE}
YAML = DEEP | {
    "a hundred thousand": "[" * 100_000 + "]" * 100_000,  # where YAML's parser in C takes the process down
    "dashes": "- " * LEVELS + "1",
    "indented": "\n".join(" " * level + "a:" for level in range(2000)),
    "chain": CHAIN,
    "aliases": ALIASES,
    "itself": "a: &a [*a]",
}
WHY = ("nested more than 100 levels deep", "with what its aliases stand for", "stands within what it stands for")


def refused(cli: Cli, *arguments: str | Path) -> str:
    """What a command says that was given bad input: an error of one line or a few, and never a defect."""
    told = cli(*arguments, code=2).stderr
    assert told.startswith("error: ")
    assert "defect" not in told
    assert len(told) < 1000
    return told


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_settings_in_yaml_are_refused(text: str, cli: Cli) -> None:
    (cli.folder / "deep.yaml").write_text(text)
    for command in (("hw", "add", "deep.yaml"), ("kv", "resolve", "-c", "deep.yaml"), ("experiment", "study", "run")):
        told = refused(cli, *command, *(["deep.yaml"] if "study" in command else []))
        assert "deep.yaml" in told
        assert any(why in told for why in WHY)


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_files_in_json_are_refused(text: str, cli: Cli) -> None:
    asked = ("experiment", "run", "--backend", "openai", "--base-url", "http://127.0.0.1:9/v1", "--model", "m")
    for name in ("deep.json", "deep.jsonl"):
        (cli.folder / name).write_text(f"{text}\n")
        assert name in refused(cli, "estimates", "add", name, "--estimator", "e", "--version", "1")
        told = refused(cli, *asked, "--prompts", name)
        assert name in told
        assert "nested more than 100 levels deep" in told
    assert "nested more than 100 levels deep" in refused(cli, "hw", "add", "deep.json")


@pytest.mark.parametrize("text", [BRACKETS, BRACES], ids=["brackets", "braces"])
def test_measurements_and_results_in_json_are_set_aside(text: str, cli: Cli) -> None:
    (cli.folder / "tree").mkdir()
    for name in ("net.json", "result.json"):
        (cli.folder / "tree" / name).write_text(f'{{"experiment_id": "x", "config": {text}}}')
    for command in (("migrate-v1",), ("ingest", "--from"), ("experiment", "import")):
        done = cli(*command, "tree", code=1)
        assert "tree/net.json: nested_too_deeply" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("key", ["model", "kv.budgets", "dataset.pinned_example_ids", "engine.headers"])
def test_a_setting_on_the_command_line_is_refused(key: str, cli: Cli) -> None:
    told = refused(cli, "kv", "resolve", "-c", "sanity", "--override", f"{key}={BRACKETS}")
    assert "nested more than 100 levels deep" in told
    assert "nested more" in refused(cli, "kv", "resolve", "-c", "sanity", "--override", f"{'a.' * LEVELS}a=1")


def test_aliases_that_stand_for_little_are_read(cli: Cli) -> None:
    texts = "a: &a [x, y]\nb: *a\nc: {d: *a, e: &e {f: *a}, g: *e}\n"
    (cli.folder / "few.yaml").write_text(texts)
    assert "a: no such key" in refused(cli, "kv", "resolve", "-c", "few.yaml")
