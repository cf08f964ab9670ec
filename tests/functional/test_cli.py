"""The command line as a user meets it: options anywhere, formats, exit codes, and errors that say what to do."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from groundlake.cli.app import ORDER
from groundlake.errors import QueryError
from groundlake.store import Lake

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
COMMANDS = [tuple(line.split()) for line in re.findall(r"^## lake (.+)$", PAGE, re.MULTILINE)]
GROUPS = {command[:-1] for command in COMMANDS}
RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1, "total_latency_ms": 0.1 + 0.2}


@pytest.fixture
def lake(lake_root: Path, timings) -> Lake:
    lake = Lake(lake_root)
    lake.write(RUN, subgraph_timings=timings(2))
    lake.write(RUN | {"batch": 4}, subgraph_timings=timings(2))
    return lake


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_documented_command_has_help_and_the_options_that_all_share(command: tuple[str, ...], cli) -> None:
    text = cli(*command, "--help", COLUMNS="100").stdout
    assert f"Usage: lake {' '.join(command)}" in text
    if command not in GROUPS:
        assert {"--root", "--quiet", "--debug"} <= set(re.findall(r"--[a-z]+", text))
    assert "\x1b[" not in text


def test_every_command_of_the_program_is_documented() -> None:
    assert {command for command in COMMANDS if len(command) == 1} == {(name,) for name in ORDER}
    assert ("experiment", "study", "run") in COMMANDS


def test_the_list_of_commands_comes_in_panels_with_the_exit_codes(cli) -> None:
    text = cli("--help").stdout
    assert all(re.search(rf"─ {panel} ─", text) for panel in ("Start", "Ask", "Measure", "Keep"))
    assert all(re.search(rf"^│ {name}\s", text, re.MULTILINE) for name in ORDER)
    assert "130 interrupted" in " ".join(text.split())
    assert re.fullmatch(r"lake \d+\.\d+\.\d+\n", cli("--version").stdout)


def test_the_root_is_taken_before_and_after_the_command_and_from_the_environment(cli, tmp_path: Path) -> None:
    for number, (arguments, environment) in enumerate(
        [
            (["--root", "r0", "init"], {}),
            (["init"], {"LAKE_ROOT": "r1"}),
            (["--root", "r2", "init"], {"LAKE_ROOT": "wrong"}),
            (["init", "--root", "r3"], {"LAKE_ROOT": "wrong"}),
            (["--root", "wrong", "init", "--root", "r4"], {}),
        ]
    ):
        cli(*arguments, **environment)
        assert (tmp_path / f"r{number}.db").is_file()
    assert not (tmp_path / "wrong").exists()
    cli("init")
    assert (tmp_path / "lake.db").is_file()


@pytest.mark.parametrize("place", [0, 1])
def test_quiet_and_debug_are_taken_before_and_after_the_command(place: int, cli, lake: Lake) -> None:
    def at(option: str, *command: str) -> list[str]:
        return [option, *command] if place == 0 else [*command, option]

    assert cli(*at("--quiet", "sql", "select 1 as n", "--format", "csv")).stdout == "n\n1\n"
    errors = cli(*at("--debug", "sql", "select nothing"), code=2).stderr
    assert "Traceback" in errors
    assert "QueryError" in errors


def test_an_error_has_no_traceback_and_at_most_six_lines(cli, lake: Lake) -> None:
    for command in (["sql", "select nothing"], ["show", "dev", "nothing"], ["--root", "nowhere", "ls"]):
        done = cli(*command, code=2)
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 6


NUMBERS = "select 0.1::double + 0.2::double as x, 1e22 as big, sum(7) as total, 1.5 as fixed, 'nan'::double as nothing"


def test_json_is_an_array_of_objects_in_full_precision_without_nan(cli, lake: Lake) -> None:
    (row,) = json.loads(cli("sql", NUMBERS, "--format", "json").stdout)
    assert row == {"x": 0.1 + 0.2, "big": 1e22, "total": 7, "fixed": 1.5, "nothing": None}
    assert isinstance(row["total"], int)
    nested = "select [1.5, 'inf'::double] as numbers, {'a': 'nan'::double, 'b': 'text'} as both"
    assert json.loads(cli("sql", nested, "--format", "json").stdout) == [
        {"numbers": [1.5, None], "both": {"a": None, "b": "text"}}
    ]
    assert cli("sql", "select 1 as n where false", "--format", "json").stdout == "[]\n"


def test_csv_has_a_header_lf_line_ends_and_full_precision(cli, lake: Lake) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "groundlake",
            "sql",
            "select 0.1::double + 0.2::double as x, 'a,\"b\"' as t, null as n",
            "--format",
            "csv",
        ],
        cwd=lake.root.parent,
        capture_output=True,
        check=True,
    )
    assert done.stdout == b'x,t,n\n0.30000000000000004,"a,""b""",\n'
    assert cli("sql", "select 1 as n where false", "--format", "csv").stdout == "n\n"


def test_nested_columns_are_json_in_csv(cli, lake: Lake) -> None:
    query = "select node_names, fact_rows from subgraph_timings join runs using (run_id) limit 1"
    header, row = cli("sql", query, "--format", "csv").stdout.splitlines()
    assert header == "node_names,fact_rows"
    assert row == '"[""conv"", ""bn""]","[{""table"": ""subgraph_timings"", ""rows"": 2}]"'


def test_parquet_needs_a_file_and_keeps_the_types(cli, lake: Lake, tmp_path: Path) -> None:
    assert "-o FILE" in cli("sql", "select 1", "--format", "parquet", code=2).stderr
    assert cli("sql", "select * from subgraph_timings", "--format", "parquet", "-o", "rows.parquet").stdout == ""
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    assert rows.schema == lake.sql("select * from subgraph_timings").pl().schema
    assert rows.height == 4


def test_every_format_goes_into_a_file_too(cli, lake: Lake, tmp_path: Path) -> None:
    for form in ("table", "csv", "json"):
        assert cli("sql", "select 41 + 1 as answer", "--format", form, "-o", f"out.{form}").stdout == ""
        assert "42" in (tmp_path / f"out.{form}").read_text()
    assert "no/such/folder" in cli("sql", "select 1", "-o", "no/such/folder/x", "--format", "csv", code=5).stderr


@pytest.mark.parametrize(
    "command",
    [["init"], ["views"], ["check"], ["compact"], ["sql", "select 1"], ["ls"], ["ls", "dev"], ["show", "dev", "net"],
     ["show", "dev", "net", "--batch", "4"], ["hw", "list"], ["hw", "show", "jetson_orin_agx_maxn"]],
    ids=" ".join,
)  # fmt: skip
def test_a_command_that_succeeds_writes_nothing_to_stderr(command: list[str], cli, lake: Lake) -> None:
    done = cli(*command)
    assert done.stderr == ""
    assert done.stdout != ""
    assert "\x1b[" not in done.stdout


@pytest.mark.parametrize(("query", "lines"), [("select 1", 0), ("select * from range(1000000)", 1)])
def test_a_reader_that_has_enough_ends_the_command_silently(query: str, lines: int, lake: Lake, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "groundlake", "sql", query, "--format", "csv"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert [process.stdout.readline() for _ in range(lines)] == [b"range\n"] * lines
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


WRITING = (
    "select 1; select 2",
    "copy runs to 'out.csv'",
    "attach 'x.db'",
    "install json",
    "load json",
    "create table t (a int)",
    "create view v as select 1",
    "insert into runs values (1)",
    "set threads = 1",
    "pragma database_list",
    "",
    "-- nothing",
)


def test_only_a_single_question_is_run(cli, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(tmp_path.iterdir())
    for query in WRITING[:4]:
        assert "a single SELECT" in cli("sql", query, code=2).stderr
    monkeypatch.chdir(tmp_path)
    for query in WRITING:
        with pytest.raises(QueryError, match="a single SELECT"):
            lake.sql(query).rows()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "query",
    ["describe runs", "show tables", "from runs", "with a as (select 1) select * from a", "values (1)", "select 1;"],
)
def test_other_forms_of_a_question_are_run(query: str, lake: Lake) -> None:
    assert lake.sql(query).rows()


@pytest.mark.parametrize("comment", ["-- the number of runs", "--runs = all", "--one\n--two -- three"])
def test_a_question_may_begin_with_a_comment(comment: str, cli, lake: Lake) -> None:
    query = f"{comment}\nselect 7 as seven"
    assert cli("sql", query, "--format=csv").stdout == "seven\n7\n"
    assert cli("sql", "--format", "csv", query).stdout == "seven\n7\n"
    assert "No such option: --fromat" in cli("sql", "select 1", "--fromat", "csv", code=2).stderr


def test_an_unknown_view_points_to_help(cli, lake: Lake) -> None:
    errors = cli("sql", "select * from model_sumary", code=2).stderr
    assert "model_sumary" in errors
    assert "from help" in errors


def test_a_type_that_polars_lacks_says_to_cast_it(cli, lake: Lake) -> None:
    assert "cast" in cli("sql", "select interval '1 day' as x", code=2).stderr


def test_ls_and_show_with_wrong_names_say_what_exists(cli, lake: Lake) -> None:
    assert "the lake has dev" in cli("ls", "jetson", code=2).stderr
    assert "the lake has dev" in cli("show", "jetson", "net", code=2).stderr
    assert "the lake has net" in cli("show", "dev", "resnet", code=2).stderr
    assert "the lake has net" in cli("show", "dev", "net", "--batch", "64", code=2).stderr
    cli("init", "--root", "empty")
    assert "no runs yet" in cli("ls", "dev", "--root", "empty", code=2).stderr


def test_ls_and_show_print_configurations_and_subgraphs(cli, lake: Lake) -> None:
    (device,) = json.loads(cli("ls", "--format", "json").stdout)
    assert (device["hardware_id"], device["configurations"], device["precisions"]) == ("dev", 2, "fp32")
    assert [row["batch"] for row in json.loads(cli("ls", "dev", "--format", "json").stdout)] == [1, 4]
    configurations = json.loads(cli("show", "dev", "net", "--format", "json").stdout)
    assert [row["total_latency_ms"] for row in configurations] == [0.1 + 0.2] * 2
    subgraphs = json.loads(cli("show", "dev", "net", "--batch", "4", "--precision", "FP32", "--format", "json").stdout)
    assert [row["subgraph_id"] for row in subgraphs] == [1, 0]
    assert math.isclose(subgraphs[0]["latency_mean_ms"], 4 / 3)


def test_tables_round_and_files_do_not(cli, lake: Lake) -> None:
    query = "select 1::double / 3 as third"
    assert "0.33333\n" in cli("sql", query).stdout
    assert "0.3333333333333333" in cli("sql", query, "--format", "csv").stdout


def test_exit_codes_are_as_documented(cli, lake: Lake, tmp_path: Path) -> None:
    cli("check")  # 0
    leftover = lake.root / "runs" / "hardware_id=dev" / "x.v01.parquet.tmp"
    leftover.write_text("")
    cli("check", code=1)
    leftover.unlink()
    cli("sql", "select", code=2)
    cli("nothing", code=2)
    cli("sql", "select 1", "--format", "xml", code=2)
    part = next((lake.root / "runs" / "hardware_id=dev").iterdir())
    content = part.read_bytes()
    part.write_bytes(content[:100])
    cli("check", code=4)
    cli("ls", code=4)
    cli("ls", "--debug", code=4)
    part.write_bytes(content)
    (tmp_path / "file").write_text("")
    cli("init", "--root", "file", code=5)
    cli("init", "--root", "file/below", code=5)


def test_init_makes_a_lake_once_and_does_nothing_to_one_that_is_there(cli, tmp_path: Path) -> None:
    first = cli("init").stdout
    files = {path: path.stat().st_ino for path in (tmp_path / "lake").rglob("*.parquet")}
    assert files
    assert cli("init").stdout == first
    assert {path: path.stat().st_ino for path in (tmp_path / "lake").rglob("*.parquet")} == files


def test_the_installed_script_is_the_same_program(lake: Lake, tmp_path: Path, need) -> None:
    script = Path(sys.executable).with_name("lake")
    need("lake", present=script.exists(), reason="the script `lake` is not installed beside this Python")
    done = subprocess.run(
        [script, "ls"], cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ | {"LAKE_ROOT": ""}
    )
    assert "dev" in done.stdout


@pytest.mark.parametrize(("closed", "code"), [("2>&-", 0), (">&-", 0), ("2>&- >&-", 0), ("2>&- <&-", 2)])
def test_a_closed_stdout_or_stderr_changes_no_exit_code(lake: Lake, cli, closed: str, code: int) -> None:
    query = "select 1" if code == 0 else "selekt 1"
    command = f"{sys.executable} -m groundlake sql '{query}' {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=cli.folder, env=cli.environment, check=False)
    assert done.returncode == code
