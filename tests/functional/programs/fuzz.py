"""Damage one file of a lake in random ways and read it: `fuzz.py KIND CASES SEED FOLDER`.

KIND `parquet` damages a part, mostly its footer; `json` damages a measurement file that is then imported. Each case
ends as `right` (the answer is that of the sound file), `refused` (an error of groundlake's own) or something else,
which is told with its case number. Cases run in forked processes, ten at a time: a library that crashes takes its
process with it, and is told too. One such crash is known: polars asks for as much memory as a damaged page says, and
ends the process where it is refused. It counts as `ended in polars` where `lake check` then names the file.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from copy import deepcopy
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from writer import one_run

import groundlake.importers
import groundlake.maintenance.integrity  # noqa: F401 - in the process that is forked
from groundlake.errors import LakeError
from groundlake.importers import export_v2_json, migrate_v1
from groundlake.store import Lake

AT_ONCE = 10
LONGEST_S = 60
EXPECTED = ("right", "refused", "found by its checksum", "ended in polars")
NO_MEMORY = re.compile(rb"memory allocation of \d{13,} bytes failed")
COUNT = "select count(*), sum(latency_mean_ms), min(run_id), max(operation_type) from subgraph_timings"


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat, insert or overwrite a few bytes; nearer to the end more often, where a footer is."""
    data = bytearray(content)
    for _ in range(chance.randrange(1, 5)):
        end = chance.random() < 0.7
        at = chance.randrange(max(0, len(data) - 900), len(data)) if end and data else chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(data):
                data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            case 2:
                del data[at : at + chance.randrange(1, 40)]
            case 3:
                data[at:at] = chance.randbytes(chance.randrange(1, 20))
            case 4:
                data[at:at] = data[at : at + chance.randrange(1, 60)]
            case _:
                del data[at:]
    return bytes(data)


def damaged_json(content: bytes, chance: random.Random) -> bytes:
    """Damage bytes as above, or a value: another type, a huge or odd number, a deep nest, a hostile name."""
    if chance.random() < 0.4:
        return damaged(content, chance)
    document = json.loads(content)
    for _ in range(chance.randrange(1, 4)):
        place, key = _some_place(document, chance)
        place[key] = deepcopy(chance.choice(ODD))  # two lists that are one would hold themselves
    text = json.dumps(document)
    return text.replace('"DEEP"', "[" * 10_000 + "]" * 10_000).encode("utf-8", "surrogatepass")


ODD: tuple[object, ...] = (
    *(None, True, -1, 0, 1e308, -0.0, 2**63, 10**400, float("nan"), float("inf"), "NaN", "1e5", "2026-99-99"),
    *("", "x" * 5000, "DEEP", [], {}, [None], [[]], {"": 1}),
    *("../../etc", "a/b=c%00", "\u202e\u0000", "\ud800", "<script>alert(1)</script>", "'; drop table runs; --"),
)


def _some_place(document: object, chance: random.Random) -> tuple[object, object]:
    """Walk down to a value: its container, and its key."""
    while True:
        keys = list(document) if isinstance(document, dict) else range(len(document))
        key = chance.choice(keys)
        inner = document[key]
        if not isinstance(inner, (dict, list)) or not inner or chance.random() < 0.2:
            return document, key
        document = inner


class Parquet:
    """A lake of two runs, of which one part is damaged."""

    @staticmethod
    def prepare(folder: Path) -> None:
        """Make the lake, in a process of its own: one that has started threads cannot be forked."""
        for _ in range(2):
            one_run(Lake(folder / "lake"), "dev")

    def __init__(self, folder: Path) -> None:
        self.lake = Lake(folder / "lake")
        self.paths = [
            min((self.lake.root / table / "hardware_id=dev").rglob("*.parquet"))
            for table in ("subgraph_timings", "runs")
        ]
        self.sound = {path: path.read_bytes() for path in self.paths}
        self.right: list[object] = []

    def mend(self) -> None:
        """Put the sound files back: a case that takes its process down leaves the damaged one there."""
        for path, content in self.sound.items():
            path.write_bytes(content)

    def named_by_check(self) -> bool:
        """Whether `lake check` names a damaged part, asked in a process of its own."""
        if (child := os.fork()) == 0:
            os._exit(0 if "torn" in {finding.code for finding in self.lake.check()} else 1)
        return os.waitpid(child, 0)[1] == 0

    def read(self, *, everything: bool) -> list[object]:
        """Answers through each door."""
        lake = Lake(self.lake.root)
        frame = lake.frame("subgraph_timings")
        answers: list[object] = [frame.height, frame["latency_mean_ms"].sum(), sorted(frame["run_id"])]
        if everything:
            answers += [lake.sql(COUNT).rows()]
        return answers

    def case(self, number: int, seed: int) -> str:
        """Damage a part, read it, look at it, and mend it again."""
        self.right = self.right or self.read(everything=True)
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - no secret
        path = self.paths[number % 5 == 4]
        path.write_bytes(damaged(self.sound[path], chance))
        try:
            return self.outcome(everything=number % 10 == 0)
        finally:
            self.mend()

    def outcome(self, *, everything: bool) -> str:
        """What readers make of the lake now."""
        outcome = "right"
        try:
            if self.read(everything=everything) != self.right[: 4 if everything else 3]:
                outcome = "differs"
        except LakeError:
            outcome = "refused"
        findings = {finding.code for finding in self.lake.check()}
        if outcome == "differs":
            # Bytes of a value were changed, and nothing in the file says so: the checksum does.
            deep = {finding.code for finding in self.lake.check_deep(self.lake.check()).findings}
            outcome = "found by its checksum" if deep | findings else "wrong, and nothing tells"
        return outcome


class Json:
    """A measurement file that is damaged and imported."""

    @staticmethod
    def prepare(folder: Path) -> None:
        """Write the file, and an empty lake."""
        there = Lake(folder / "there")
        one_run(there, "dev", started_at=dt.datetime(2026, 1, 1), started_at_zone_source="clock")  # noqa: DTZ001 - naive UTC
        export_v2_json(there, folder / "tree")
        Lake(folder / "empty").create()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self.path,) = (path for path in (folder / "tree").rglob("*.json") if path.name.startswith("net"))
        self.sound = self.path.read_bytes()

    def mend(self) -> None:
        """Put the sound file back."""
        self.path.write_bytes(self.sound)

    def named_by_check(self) -> bool:
        """No part is damaged here."""
        return False

    def case(self, number: int, seed: int) -> str:
        """Damage the file, import it into an empty lake, and count: every file is a run, or set aside with a reason."""
        self.path.write_bytes(damaged_json(self.sound, random.Random(f"{seed} {number}")))  # noqa: S311 - no secret
        root = self.folder / f"lake{os.getpid()}"
        shutil.copytree(self.folder / "empty", root)
        try:
            report = migrate_v1(Lake(root), [self.folder / "tree"])
            lake = Lake(root)
            runs = lake.runs().height
        except LakeError:
            return "refused"
        else:
            return "right" if runs else "refused" if report.set_aside else "lost without a word"
        finally:
            shutil.rmtree(root)


def batch(cases: Parquet | Json, numbers: range, seed: int) -> list[tuple[int, str]]:
    """Run cases in a process of their own; one that takes it down is told as such."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.close(reading)
            signal.alarm(LONGEST_S)
            os.dup2(errors.fileno(), 2)
            run(cases, numbers, seed, writing)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = [tuple(json.loads(line)) for line in pipe]
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            errors.seek(0)
            number = os.WTERMSIG(status)
            in_polars = number == signal.SIGABRT and NO_MEMORY.search(errors.read()) and cases.named_by_check()
            told.append((numbers[len(told)], "ended in polars" if in_polars else f"killed by signal {number}"))
            cases.mend()
    return told


def run(cases: Parquet | Json, numbers: range, seed: int, writing: int) -> None:
    """Run cases, and write how each ended as a line of JSON."""
    for number in numbers:
        try:
            outcome = cases.case(number, seed)
        except BaseException:  # noqa: BLE001 - this is what is looked for
            outcome = "traceback: " + traceback.format_exc()[-600:]
        os.write(writing, (json.dumps([number, outcome]) + "\n").encode())


def main(kind: str, cases: int, seed: int, folder: Path) -> None:
    """Run all cases, and print how many ended how; what should not be, one by one."""
    maker = Parquet if kind == "parquet" else Json
    if (child := os.fork()) == 0:
        maker.prepare(folder)
        os._exit(0)
    os.waitpid(child, 0)
    cases_of = maker(folder)
    counted: Counter[str] = Counter()
    number = 0
    while number < cases:
        told = batch(cases_of, range(number, min(cases, number + AT_ONCE)), seed)
        for case, outcome in told:
            short = outcome.partition(":")[0]
            counted[short] += 1
            if short not in EXPECTED:
                os.write(1, (json.dumps({"case": case, "outcome": outcome}) + "\n").encode())
        number += len(told)
    os.write(1, (json.dumps({"counted": counted}) + "\n").encode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
