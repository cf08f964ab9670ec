"""Write the pages that are made from the code: tables, views, command line. `--check` fails when one is stale."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup

from groundlake.cli.app import app
from groundlake.schemas import FACT_TABLES, TABLES, Quarantine, Runs, Table
from groundlake.store import Lake
from groundlake.views import View, all_views, column_comment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Made by `make docs` from {source}; edits here are lost. -->\n"


def tables_page() -> str:
    """Every table contract with its columns, units and rules."""
    text = [NOTE.format(source="the contracts in `schemas/`"), "# Tables\n"]
    text.append(
        "Every run is one row of `runs`; a row of the other tables is visible only through its run. "
        "Partition keys stand in the path, the other columns in the file. NULL means unknown or not applicable.\n"
    )
    text += [_table_section(table) for table in (*TABLES.values(), Quarantine)]
    return "\n".join(text)


def _table_section(table: type[Table]) -> str:
    stored = "/".join(table.keys()) or "none: JSON lines, one file for each import"
    lines = [
        f"## {table.table_name()}\n",
        f"{table.documentation()}\n",
        f"Contract version {table.version()}. Partitioned by `{stored}`.\n",
        "| column | type | unit | NULL | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{spec.name}` | {spec.dtype} | {spec.unit or ''} | {'yes' if spec.nullable else ''} | {spec.description} |"
        for spec in table.columns()
    ]
    rules = sorted({rule.name for rule in table.rules() if rule.column == "row"})
    if rules:
        lines += ["", "Rules over several columns: " + "; ".join(f"`{rule}`" for rule in rules) + "."]
    return "\n".join(lines) + "\n"


def views_page() -> str:
    """Every view with its columns, as an empty lake describes them."""
    text = [NOTE.format(source="`queries/views/` and the contracts"), "# Views\n"]
    text.append(
        "All of them are in `lake.db`, and known to `lake sql` and `Lake.sql`. The views named after a table show its "
        "visible rows; their columns are in [tables.md](tables.md).\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder) / "lake")
        lake.create()
        with lake.connect() as connection:
            views = [view for name, view in all_views(lake.root).items() if not name.endswith("_parts")]
            for view in sorted(views, key=lambda view: view.name):
                columns = [(row[0], row[1]) for row in connection.execute(f"DESCRIBE {view.name}").fetchall()]
                text.append(_view_section(view, columns))
    return "\n".join(text)


def _view_section(view: View, columns: Iterable[tuple[str, str]]) -> str:
    lines = [f"## {view.name}\n", f"{view.documentation}\n", f"```sql\n{view.example}\n```\n"]
    if view.name not in TABLES and view.name != "quarantine":
        lines += ["| column | type | meaning |", "|---|---|---|"]
        for name, kind in columns:
            meaning = view.columns.get(name) or column_comment(name, [Runs, *FACT_TABLES.values()])
            lines.append(f"| `{name}` | {kind} | {meaning or ''} |")
        lines.append("")
    return "\n".join(lines)


def commands_page() -> str:
    """The help of every command, as it prints it."""
    text = [NOTE.format(source="the help of each command"), "# The command line\n"]
    text.append("```text\n" + _help() + "\n```\n")
    text += [
        f"## lake {' '.join(command)}\n\n```text\n{_help(*command)}\n```\n"
        for command in _commands(typer.main.get_command(app))
    ]
    return "\n".join(text)


def _commands(group: object, *above: str) -> Iterator[tuple[str, ...]]:
    """Every command in the order of the help, a group before its own."""
    if isinstance(group, TyperGroup):
        for name in group.list_commands(typer.Context(group)):
            yield (*above, name)
            yield from _commands(group.commands[name], *above, name)


def _help(*command: str) -> str:
    environment = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    asked = [sys.executable, "-m", "groundlake", *command, "--help"]
    done = subprocess.run(asked, check=True, capture_output=True, text=True, env=environment)  # noqa: S603 - our own program
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


PAGES: dict[str, Callable[[], str]] = {
    "tables.md": tables_page,
    "views.md": views_page,
    "cli.md": commands_page,
}


def main() -> int:
    """Write the pages, or compare them with what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is stale")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        path, text = DOCS / name, re.sub(r"\n{3,}", "\n\n", make()).rstrip() + "\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
    print(
        "\n".join(f"{'stale' if check else 'written'}: docs/{name}" for name in stale)
        or "the generated pages are up to date"
    )
    if check and stale:
        print("run `make docs` and commit the result")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
