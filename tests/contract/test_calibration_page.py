"""The page on calibration sets: every command and program on it runs in its order, and prints what the page shows."""

from __future__ import annotations

import inspect
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from groundlake.calibration.building import build
from groundlake.calibration.exporting import FORMATS
from groundlake.calibration.onnx_reader import OnnxReader
from groundlake.calibration.preprocessing import PROBES
from groundlake.calibration.registering import register_evaluation
from groundlake.calibration.small_net.pictures import write_cifar10
from groundlake.calibration.sources import SOURCES, image_folder, npz
from groundlake.calibration.torch_reader import TorchReader
from groundlake.calibration.verifying import SLACK
from groundlake.measure.int8.found import Int8Found
from groundlake.measure.int8.settings import Int8Settings
from groundlake.schemas import TABLES
from groundlake.schemas.calibration import CalibrationBuilds
from groundlake.store import Lake

pytestmark = pytest.mark.slow  # together they take minutes

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "calibration.md").read_text(encoding="utf-8")
SOURCE = REPOSITORY / "src/groundlake"
FILE = re.compile(r"# (\w+\.py)\n")
"""First line of a program that is a file to be saved."""
STEP = re.compile(
    r"```(?P<kind>python|text)\n(?P<block>.*?)```|^    (?P<line>(?:lake|python) [^\n]*)$", re.DOTALL | re.MULTILINE
)
PLACEHOLDER = re.compile(r"\b(?:NAME|DIR)\b")
HASH = re.compile(r"\b[0-9a-f]{12,64}\b…?|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
QUANTIZING = re.compile(r"^(?:import torch|from onnxruntime)", re.MULTILINE)
"""Programs that take longer the more images there are; they run in a folder with few."""
TIME_LIMIT_S = 300

DRIVER = """
import contextlib, io, json, runpy, shlex, sys, warnings

from groundlake.cli import main as lake

sys.path.insert(0, "")
warnings.simplefilter("ignore")


def command(line):
    program, *arguments = shlex.split(line, comments=True)
    if program == "lake":
        sys.argv = [program, *arguments, *(["--dry-run"] if arguments[0] == "ingest" else [])]
        lake()
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        raise ValueError(f"the page has a command that its test cannot run: {line}")


outputs = []
for kind, text in json.loads(sys.argv[1]):
    said, failed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(failed):
        if kind == "command":
            with contextlib.suppress(SystemExit):
                command(text)
        else:
            exec(compile(text, "a program on the page", "exec"), {"__name__": "page"})
    outputs.append((said.getvalue() + failed.getvalue()).rstrip())
json.dump(outputs, sys.stdout)
"""
"""Runs what the page has in one process: each would take a second to start."""


def section(heading: str) -> str:
    return PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def table(heading: str, first: str) -> list[list[str]]:
    """The rows of the table of a section whose first column is called so, without the marks of code."""
    lines = section(heading).split(f"| {first} |", 1)[1].splitlines()[2:]
    rows = itertools.takewhile(bool, lines)
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


def steps() -> tuple[list[tuple[str, str]], list[tuple[int, str]]]:
    """What is run, in the order of the page and each command once, and which of it should print what."""
    run: list[tuple[str, str]] = []
    shown: list[tuple[int, str]] = []
    for found in STEP.finditer(PAGE):
        kind, block, line = found["kind"], found["block"], found["line"]
        if kind == "python":
            run.append(("python", block))
        elif line or block.startswith("$ "):
            for each in re.split(r"^\$ ", block or f"$ {line}", flags=re.MULTILINE)[1:]:
                command, _, output = each.partition("\n")
                if ("command", command) not in run and not PLACEHOLDER.search(command):
                    run.append(("command", command))
                if output:
                    shown.append((run.index(("command", command)), output))
        elif run[-1][0] == "python" and PAGE[: found.start()].endswith("```\n\n"):
            shown.append((len(run) - 1, block))
    return run, shown


RUN, SHOWN = steps()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page is followed: empty, but for the files that it says to save."""
    folder = tmp_path_factory.mktemp("page")
    for text in (text for kind, text in RUN if kind == "python"):
        if named := FILE.match(text):
            (folder / named[1]).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with few images, where the page has come to quantizing."""
    few = tmp_path_factory.mktemp("few")
    data = write_cifar10(few / "cifar-10-batches-py", per_class=5, test_per_class=20)
    build(Lake(few / "lake"), source="cifar10", data_dir=data, samples_per_class=5, name="stripes")
    register_evaluation(Lake(few / "lake"), "small-net-test", data, "groundlake.calibration.small_net:prepare")
    return few


@pytest.fixture(scope="module")
def printed(folder: Path, few: Path) -> list[str]:
    """What each step printed. The programs that quantize run beside the rest."""
    places = [few if QUANTIZING.search(text) else folder for _, text in RUN]
    running = []
    for place in (folder, few):
        jobs = [job for job, its in zip(RUN, places, strict=True) if its == place]
        command = [sys.executable, "-c", DRIVER, json.dumps(jobs)]
        pipe = subprocess.PIPE
        running.append(subprocess.Popen(command, cwd=place, stdout=pipe, stderr=pipe, text=True))
    outputs = {}
    for place, process in zip((folder, few), running, strict=True):
        said, failed = process.communicate(timeout=TIME_LIMIT_S)
        assert process.returncode == 0, failed
        outputs[place] = iter(json.loads(said))
    return [next(outputs[place]) for place in places]


def alike(text: str, *, numbers: bool) -> str:
    """A text without its hashes, and without its numbers where these are of other images."""
    text = HASH.sub("HASH", text).rstrip()
    return text if numbers else re.sub(r"\d", "0", text)


def pattern(shown: str) -> re.Pattern[str]:
    """A shown output as a pattern: ` ...` ends a line anyhow, a line of `...` is any number of lines."""
    lines = [
        r"(?:.*\n)*?"
        if line == "..."
        else re.escape(line.removesuffix(" ...")) + (".*" if line.endswith(" ...") else "") + "\n"
        for line in shown.splitlines()
    ]
    return re.compile("".join(lines))


@pytest.mark.parametrize(("step", "shown"), SHOWN, ids=[RUN[step][1].splitlines()[0][:60] for step, _ in SHOWN])
def test_a_command_and_a_program_print_what_the_page_shows(step: int, shown: str, printed: list[str]) -> None:
    numbers = not QUANTIZING.search(RUN[step][1])
    got = alike(printed[step], numbers=numbers)
    if "from quantization_results" in RUN[step][1]:  # nothing was measured: what a sweep is to measure was only checked
        got, shown = " ".join(got.splitlines()[0].split()), " ".join(shown.splitlines()[0].split())
    assert pattern(alike(shown, numbers=numbers)).fullmatch(f"{got}\n"), f"{RUN[step][1]}\n{got}"


def test_int8_networks_of_the_programs_answer_as_well_as_before(printed: list[str]) -> None:
    (step,) = (step for step, (_, text) in enumerate(RUN) if "import torch\n" in text)
    before, after = map(float, re.findall(r"\d\.\d+", printed[step]))
    assert before > 0.95
    assert before - after < 0.03


def test_a_sweep_is_ready_to_measure_what_the_page_asks_for(printed: list[str]) -> None:
    (step,) = (step for step, (_, text) in enumerate(RUN) if text.startswith("lake ingest "))
    assert ": 4 runs to do" in printed[step]


def test_a_sweep_tells_of_int8_as_the_page_shows() -> None:
    settings = Int8Settings(
        lake_root="lake",
        calibration_set="stripes",
        set_fingerprint="",
        num_images=1000,
        image_shape=(3, 32, 32),
        preprocessing_fingerprint="",
        preprocess="groundlake.calibration.small_net:prepare",
    )
    found = Int8Found(
        backend="",
        num_calibration_samples=1000,
        int8_time_share=0.79493,
        int8_kernels=(),
        weights_before_bytes=None,
        weights_after_bytes=None,
        relative_output_error=None,
        num_evaluated=1000,
        accuracy_before=0.998,
        accuracy_after=0.998,
    )
    assert f" int8 batch 1: {found.in_words(settings)}\n" in section("Measuring int8 with a set")


def test_the_quickstart_has_at_most_five_commands() -> None:
    quick = re.findall(r"^    (\S.*)$", section("Quickstart"), re.MULTILINE)
    assert 1 < len(quick) <= 5
    assert "small_net.pictures" in quick[1], "it needs no data that one has to get first"


def test_every_command_and_form_is_shown_and_no_other() -> None:
    commands = set(
        re.findall(r"^## lake calibration (\S+)$", (REPOSITORY / "docs/cli.md").read_text("utf-8"), re.MULTILINE)
    )
    assert set(re.findall(r"lake calibration ([a-z-]+)", PAGE)) == commands
    assert tuple(re.findall(r"export stripes --to (\w+)", PAGE)) == ("npz", "torch", "ort")
    assert set(FORMATS) == {"npz", "torch", "ort"}
    assert tuple(name for name, *_ in table("Where images come from", "`--source`")) == SOURCES


def test_every_check_is_explained_and_what_to_do(printed: list[str]) -> None:
    (step,) = (step for step, (_, text) in enumerate(RUN) if "verify stripes --format json" in text)
    names = [each["check"].replace("stripes-test", "EVALUATION") for each in json.loads(printed[step])]
    rows = table("Verify: each check", "check")
    assert [name for name, *_ in rows] == names
    assert all(len(fails) > 10 and len(what_to_do) > 5 for _, fails, what_to_do in rows[:-1])
    assert f"above {SLACK}, the brightest below {255 - SLACK}," in rows[4][1]


def test_every_view_and_table_is_named() -> None:
    views = [name for name, *_ in table("Asking in SQL", "view")]
    assert sorted(views) == sorted(path.stem for path in (REPOSITORY / "queries/calibration").glob("*.sql"))
    tables = {name for name, contract in TABLES.items() if contract.__module__ == CalibrationBuilds.__module__}
    assert len(tables) == 5
    assert set(re.findall(r"`(\w+)`", section("Asking in SQL"))) == tables | {*views, "num_contents"}


def test_every_argument_of_the_readers_is_explained_with_its_default() -> None:
    rows = {name: default for name, default, _ in table("Readers for quantization", "argument of both")}
    for reader, last in ((TorchReader, "keep"), (OnnxReader, "pad")):
        options = {
            name: str(each.default)
            for name, each in inspect.signature(reader).parameters.items()
            if each.kind is inspect.Parameter.KEYWORD_ONLY
        }
        assert options.pop("last") == last
        assert options == {name: default for name, default in rows.items() if name != "last"}
    assert re.findall(r"\w+", rows["last"]) == ["keep", "of", "ONNX", "Runtime", "pad"]


def test_messages_that_are_explained_are_those_of_the_code() -> None:
    text = "\n".join(path.read_text("utf-8") for path in (SOURCE / "calibration").rglob("*.py"))
    messages = [message for message, _ in table("What goes wrong, and what it looks like", "what you see")]
    assert len(messages) > 5
    assert [message for message in messages if message not in text] == []


def test_every_remark_is_explained() -> None:
    texts = [path.read_text("utf-8") for path in (SOURCE / "calibration").rglob("*.py")]
    codes = {code for text in texts for code in re.findall(r'f"([a-z]+(?:_[a-z]+)+): ', text)}
    codes |= {*image_folder._REMARKS, "repeated"}
    assert len(codes) > 8
    assert {name for name, _ in table("Where images come from", "remark")} == codes


def test_sizes_on_the_page_are_those_of_the_code() -> None:
    assert f"on {('no', 'one', 'two', 'three', 'four')[PROBES]} probe images" in section("What the fingerprint covers")
    assert image_folder.SIZE_LIMIT == npz.SIZE_LIMIT == 4 * 2**30
    assert "more than 4 GiB" in section("Limits")


def test_what_wrong_data_cost_is_what_stands_beside_the_network() -> None:
    beside = (SOURCE / "calibration/small_net/README.md").read_text("utf-8")
    rows = re.findall(r"^\|.*\|$", section("What wrong data cost"), re.MULTILINE)
    assert len(rows) == 7
    assert rows == re.findall(r"^\|.*\|$", beside, re.MULTILINE)


def test_the_picture_is_the_contact_sheet_that_the_command_draws(folder: Path, printed: list[str]) -> None:
    assert printed
    (shown,) = re.findall(r"!\[.+\]\((\S+)\)", PAGE)
    with Image.open(REPOSITORY / "docs" / shown) as kept, Image.open(folder / "contact-sheet.png") as drawn:
        assert kept.size == drawn.size
        assert kept.text["calibration_set"] == drawn.text["calibration_set"] == "stripes"


def test_links_of_the_page_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    assert len(links) > 2
    assert [link for link in links if not (REPOSITORY / "docs" / link).exists()] == []
    anchors = {
        re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
