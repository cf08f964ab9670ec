"""`lake calibration`, from the batches of a data set to files that quantization tools read.

What writes, and what fails, runs in a process of its own; whatever else a command says is asked of its function. All of
them run as commands for the page about calibration sets.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cifar
import numpy as np
import pytest
from conftest import Cli
from typer.testing import CliRunner

from groundlake.calibration.building import build
from groundlake.calibration.contact_sheet import write_contact_sheet
from groundlake.calibration.exporting import export
from groundlake.calibration.reading import open_set
from groundlake.calibration.registering import register_evaluation
from groundlake.calibration.verifying import verify
from groundlake.cli.app import app
from groundlake.cli.calibration import _registered_words
from groundlake.cli.calibration import build as build_command
from groundlake.cli.calibration_look import list_sets, show
from groundlake.cli.calibration_look import verify as verify_command
from groundlake.cli.output import Format
from groundlake.cli.settings import Settings
from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.calibration.reading import CalibrationSet

RAW = "import numpy as np\n\ndef prepare(images):\n    return images.astype(np.float32)\n"
DIVIDED = RAW + "\nraw = prepare\n\ndef prepare(images):\n    return raw(images) / np.float32(255)\n"


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A folder with a data set and a lake with the set `small`; tests that write more copy it."""
    cli = Cli(tmp_path_factory.mktemp("worked"))
    cifar.write_cifar10(cli.folder / "cifar-10-batches-py", per_class=5, test_per_class=2)
    said = cli("calibration", "build", "--data-dir", ".", "--samples-per-class", "4", "--name", "small").stdout
    (cli.folder / "said.txt").write_text(said, encoding="utf-8")
    return cli


@pytest.fixture
def opened(worked: Cli) -> CalibrationSet:
    return open_set(Lake(worked.folder / "lake"), "small")


@pytest.fixture
def settings(worked: Cli) -> Settings:
    """What a command gets of the options that all share."""
    return Settings(root=worked.folder / "lake")


def test_build_stores_the_same_set_once_and_refuses_another_of_its_name(
    worked: Cli, opened: CalibrationSet, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    said = (worked.folder / "said.txt").read_text(encoding="utf-8")
    assert said.startswith("calibration set small: 40 images, 4 of each of 10 classes\n")
    assert "source       cifar10, split train, 32 x 32 x 3" in said
    assert opened.fingerprint in said
    assert (worked.folder / "lake.db").exists()
    again = {"data_dir": worked.folder, "samples_per_class": 4, "name": "small"}
    build_command(settings, **again)
    assert "(it was there, nothing was written)" in capsys.readouterr().out
    with pytest.raises(UsageError, match="give this set another --name"):
        build_command(settings, seed=1, **again)
    assert opened.lake.frame("calibration_builds").height == 1


def test_changed_code_of_an_evaluation_is_caught_though_its_name_stays(
    worked: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = Cli(shutil.copytree(worked.folder, tmp_path / "copied"))
    lake = Lake(copied.folder / "lake")
    (copied.folder / "evaluation_of_cli.py").write_text(RAW, encoding="utf-8")
    monkeypatch.chdir(copied.folder)
    register_evaluation(lake, "test", ".", "evaluation_of_cli:prepare")
    assert all(check.passed for check in verify(lake, "small"))

    (copied.folder / "evaluation_of_cli.py").write_text(DIVIDED, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "evaluation_of_cli")  # as another process would find it
    again = register_evaluation(lake, "test", ".", "evaluation_of_cli:prepare")
    said = "\n".join(_registered_words(again))
    assert said.startswith("evaluation set test: 20 images\n")
    assert "gives float32 [4, 32, 32, 3], 0..1, of the probe images" in said
    failed = copied("calibration", "verify", "small", "--against", "test", "--format", "json", code=1)
    (wrong,) = (row for row in json.loads(failed.stdout) if not row["passed"])
    assert wrong["check"] == "preprocessing.test"
    assert "evaluation gives 0..1, calibration 0..255" in wrong["detail"]
    assert failed.stderr.startswith("error: calibration set small: 1 of 11 checks failed\n")
    assert "a set of another name with the evaluation's function: --preprocess of build;\n" in failed.stderr
    assert "or quantize with that function: --evaluation-set test of lake ingest" in failed.stderr

    named = ("--name", "divided", "--preprocess", "evaluation_of_cli:prepare")
    built = copied("calibration", "build", "--data-dir", ".", "--samples-per-class", "4", *named).stdout
    assert f"  prepared by  evaluation_of_cli:prepare, {again.preparation.preprocessing}\n" in built
    register_evaluation(lake, "raw", ".", "evaluation_of_cli:raw")
    other = copied("calibration", "verify", "divided", "--against", "raw", code=1).stderr
    assert other.rstrip().endswith("a set of another name with the evaluation's function: --preprocess of build")
    assert "lake ingest" not in other, "it refuses another function for a set that has its own"
    assert (
        "the same as evaluation_of_cli:prepare"
        in copied("calibration", "verify", "divided", "--against", "test").stdout
    )
    assert "  prepared by    evaluation_of_cli:prepare\n" in copied("calibration", "show", "divided").stdout

    list_sets(Settings(root=lake.root), form=Format.JSON)
    listed = ("calibration_set", "preprocess", "is_disjoint", "preprocessing_matches")
    assert [tuple(map(row.get, listed)) for row in json.loads(capsys.readouterr().out)] == [
        ("divided", "evaluation_of_cli:prepare", True, False),
        ("small", None, True, False),
    ]
    list_sets(Settings(root=lake.root), evaluations=True, form=Format.CSV)
    assert "test,cifar10,test,20,evaluation_of_cli:prepare,float32,0.0,1.0," in capsys.readouterr().out


def test_verify_says_what_is_right_and_what_nothing_can_tell(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    verify_command(settings, "small")
    said = capsys.readouterr().out.splitlines()
    assert "ok      classes.balanced   4 of each of 10 classes" in said
    assert said[-1].startswith("unknown preprocessing      no evaluation set is registered")


def test_a_set_whose_function_is_gone_is_named(worked: Cli, tmp_path: Path) -> None:
    copied = Cli(shutil.copytree(worked.folder, tmp_path / "copied"))
    code = copied.folder / "going.py"
    code.write_text(RAW, encoding="utf-8")
    made = ("--samples-per-class", "1", "--name", "own", "--preprocess", "going:prepare")
    copied("calibration", "build", "--data-dir", ".", *made)
    code.write_text(RAW.replace("prepare", "prepared"), encoding="utf-8")
    said = copied("calibration", "export", "own", "--to", "npz", "-o", "own.npz", code=2).stderr
    assert said.startswith(
        "error: calibration set own: the function that it was built with cannot be used: going:prepare: going has no "
        "'prepare'; did you mean prepared?"
    )
    code.unlink()
    sweep = ("ingest", "--models", "resnet18@3x32x32", "--precisions", "int8", "--calibration-set", "own", "--dry-run")
    said = copied(*sweep, code=2).stderr
    assert "calibration set own: the function that it was built with cannot be used: going:prepare: there is no" in said
    assert "--preprocess" not in said


def test_a_function_that_ends_the_program_is_an_error_and_nothing_is_registered(worked: Cli) -> None:
    (worked.folder / "ending.py").write_text("def prepare(images):\n    raise SystemExit\n", encoding="utf-8")
    register = ("calibration", "register-eval", "test", "--data-dir", ".", "--preprocess", "ending:prepare")
    assert "error: preprocessing ending:prepare: fails on images" in worked(*register, code=2).stderr
    assert Lake(worked.folder / "lake").frame("evaluation_sets").is_empty()


def test_show_says_what_a_set_is_and_draws_its_classes_in_rows(worked: Cli, opened: CalibrationSet) -> None:
    from PIL import Image

    said = worked("calibration", "show", "small", "--picture", "sheet.png", "--columns", "3").stdout
    assert f"fingerprint    {opened.fingerprint}" in said
    assert "selection      4 of each of 10 classes, seed 0" in said
    assert "picture: sheet.png, 30 of 40 images" in said
    with Image.open(worked.folder / "sheet.png") as sheet:
        assert sheet.text == {"calibration_set": "small", "set_fingerprint": opened.fingerprint}
        drawn = np.asarray(sheet)
    for row in range(10):
        for column, place in enumerate(np.flatnonzero(opened.labels == row)[:3]):
            bottom, right = drawn.shape[0] - (9 - row) * 68 - 4, drawn.shape[1] - (2 - column) * 68 - 4
            tile = drawn[bottom - 64 : bottom : 2, right - 64 : right : 2]
            np.testing.assert_array_equal(tile, opened.pixels()[place])


def test_the_name_of_a_class_is_drawn_in_one_line(lake_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    pixels, labels = cifar.pictures(1, classes=2)
    np.savez(tmp_path / "a.npz", images=pixels, labels=labels, class_names=np.array(["cat\nor dog", "truck"]))
    build(Lake(lake_root), source="npz", data_dir=tmp_path / "a.npz", samples_per_class=1, name="lines")
    assert write_contact_sheet(open_set(Lake(lake_root), "lines"), tmp_path / "sheet.png") == 2


def test_show_gives_the_classes_to_programs(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    show(settings, "small", form=Format.JSON)
    rows = json.loads(capsys.readouterr().out)
    assert [row["class_name"] for row in rows] == list(cifar.CLASSES)
    assert {(row["samples"], row["expected"], row["share"], row["is_balanced"]) for row in rows} == {(4, 4, 0.1, True)}


def test_npz_has_images_labels_names_hashes_and_the_fingerprint(worked: Cli, opened: CalibrationSet) -> None:
    said = worked("calibration", "export", "small", "--to", "npz", "-o", "small.npz").stdout
    assert said == f"small.npz: 40 images, float32 NHWC, set {opened.fingerprint}\n"
    with np.load(worked.folder / "small.npz") as content:
        assert content["images"].dtype == np.float32
        np.testing.assert_array_equal(content["images"], opened.images())
        np.testing.assert_array_equal(content["labels"], opened.labels)
        assert tuple(content["class_names"]) == opened.class_names
        assert tuple(content["sample_ids"]) == opened.sample_ids
        assert str(content["fingerprint"]) == opened.fingerprint
        assert (str(content["layout"]), str(content["preprocessing"])) == ("NHWC", opened.preprocessing_json)
        assert str(content["preprocessing_fingerprint"]) == opened.preprocessing_fingerprint
    assert not list(worked.folder.glob("*.tmp"))


def test_the_layout_of_an_export_can_be_chosen(opened: CalibrationSet, tmp_path: Path) -> None:
    export(opened, "npz", tmp_path / "first.npz", layout="NCHW")
    with np.load(tmp_path / "first.npz") as content:
        np.testing.assert_array_equal(content["images"], opened.images().transpose(0, 3, 1, 2))


def test_torch_reads_tensors_without_running_anything(opened: CalibrationSet, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    export(opened, "torch", tmp_path / "small.pt")
    content = torch.load(tmp_path / "small.pt", weights_only=True)
    assert (content["images"].dtype, content["layout"]) == (torch.float32, "NCHW")
    np.testing.assert_array_equal(content["images"].numpy(), opened.images().transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(content["labels"].numpy(), opened.labels)
    assert (content["fingerprint"], content["class_names"]) == (opened.fingerprint, list(opened.class_names))


def test_ort_is_read_batch_by_batch_by_the_tool_of_onnx_runtime(opened: CalibrationSet, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runner = pytest.importorskip("onnxruntime.quantization.static_quantize_runner")
    folder = tmp_path / "beside the model"
    done = export(opened, "ort", folder, batch=8)
    assert (done.batches, done.layout) == (5, "NCHW")
    reader = runner.OnnxModelCalibrationDataReader.__new__(runner.OnnxModelCalibrationDataReader)
    batches = [reader.read_onnx_pb_data(folder / f"test_data_set_{number}" / "input_0.pb") for number in range(5)]
    np.testing.assert_array_equal(np.concatenate(batches), opened.images().transpose(0, 3, 1, 2))
    facts = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    assert (facts["set_fingerprint"], facts["layout"], facts["batch"]) == (opened.fingerprint, "NCHW", 8)
    assert facts["sample_ids"] == list(opened.sample_ids)
    with pytest.raises(UsageError, match="holds test_data_set_0 already"):
        export(opened, "ort", folder, batch=8)


def test_an_export_that_was_interrupted_can_be_tried_again(
    opened: CalibrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    folder = tmp_path / "again"

    def interrupted(self: CalibrationSet, size: int, **layout: object) -> Iterator[np.ndarray]:
        yield from (self.images()[:size].transpose(0, 3, 1, 2),) * 3
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(opened), "batches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export(opened, "ort", folder, batch=4)
    assert len(list(folder.glob("test_data_set_*"))) == 3
    assert not (folder / "calibration.json").exists()
    export(opened, "ort", folder, batch=20)
    assert sorted(path.name for path in folder.iterdir()) == ["calibration.json", "test_data_set_0", "test_data_set_1"]


def test_batches_of_two_sizes_are_refused_before_anything_is_written(opened: CalibrationSet, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(UsageError, match=r"(?s)40 images of small make no whole number.*8, 10, 20"):
        export(opened, "ort", tmp_path / "uneven", batch=16)
    assert not (tmp_path / "uneven").exists()


def test_files_that_cannot_be_written_are_refused_with_what_to_do(opened: CalibrationSet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its folder does not exist"):
        export(opened, "npz", tmp_path / "nowhere" / "small.npz")
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="there: is a folder"):
        export(opened, "npz", tmp_path / "there")
    with pytest.raises(UsageError, match="written as npz, ort, torch"):
        export(opened, "csv", tmp_path / "small.csv")
    with pytest.raises(UsageError, match=r"a contact sheet is a \.png file"):
        write_contact_sheet(opened, tmp_path / "sheet.jpg")
    with pytest.raises(UsageError, match="at least 1 image of each class"):
        write_contact_sheet(opened, tmp_path / "sheet.png", columns=0)


def test_a_place_that_cannot_be_written_is_told_by_the_name_that_was_asked_for(opened: CalibrationSet) -> None:
    for to, name in (("npz", "small.npz"), ("torch", "small.pt"), ("ort", "folder")):
        with pytest.raises(LakeEnvironmentError) as raised:
            export(opened, to, Path("/proc") / name)
        said = str(raised.value)
        assert said.startswith(f"cannot write /proc/{name}: ")
        assert ".tmp" not in said


def test_the_help_says_what_a_function_is_given() -> None:
    said = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1"}).invoke(app, ["calibration", "register-eval", "--help"])
    assert "uint8 (4, height, width, 3)" in said.stdout
