"""Building a calibration set writes one run, once; and `python -m groundlake.calibration` prints what was checked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import cifar
import numpy as np
import pytest

from groundlake.calibration import load_calibration_data
from groundlake.calibration.building import build
from groundlake.calibration.images import sample_id
from groundlake.calibration.preprocessing import RAW, apply, fingerprint
from groundlake.calibration.reading import open_set
from groundlake.calibration.sources import read
from groundlake.errors import UsageError
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cifar.write_cifar10(tmp_path_factory.mktemp("data") / "cifar-10-batches-py", per_class=100, test_per_class=5)


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "cifar-10-batches-py")


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


def runs(lake: Lake) -> int:
    return lake.runs().height if lake.exists else 0


def module(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `python -m groundlake.calibration`, as the document runs its script."""
    command = [sys.executable, "-m", "groundlake.calibration", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_set_is_one_run_with_its_facts_and_its_images(lake: Lake, good: Path) -> None:
    built = build(lake, source="cifar10", data_dir=good, samples_per_class=5, name="ten-by-five")
    (run,) = lake.runs().iter_rows(named=True)
    assert (run["run_id"], run["kind"], run["hardware_id"]) == (built.run_id, "calibration", "none")
    assert run["sources"][0]["layout"] == "cifar10"
    assert run["warnings"] == list(built.remarks)
    (facts,) = lake.frame("calibration_builds").iter_rows(named=True)
    assert facts["calibration_set"] == "ten-by-five"
    assert (facts["num_samples"], facts["num_classes"], facts["samples_per_class"], facts["seed"]) == (50, 10, 5, 0)
    assert (facts["height"], facts["width"], facts["channels"]) == (32, 32, 3)
    assert facts["class_names"] == list(cifar.CLASSES)
    assert facts["split"] == "train"
    assert facts["set_fingerprint"] == built.set_fingerprint
    assert facts["preprocessing_fingerprint"] == fingerprint(apply).preprocessing == built.preprocessing_fingerprint
    assert json.loads(facts["preprocessing_json"]) == dict(RAW.description)
    assert lake.check() == []


def test_images_are_stored_raw_with_where_they_come_from(lake: Lake, good: Path) -> None:
    build(lake, source="cifar10", data_dir=good, samples_per_class=5)
    pixels, labels = cifar.pictures(105)
    first = np.array([np.count_nonzero(labels[:at] == label) for at, label in enumerate(labels)])
    batches = np.array_split(pixels[first < 100], 5)
    rows = list(lake.frame("calibration_samples").sort("ordinal").iter_rows(named=True))
    assert [row["ordinal"] for row in rows] == list(range(50))
    assert [row["label"] for row in rows] == [*range(10)] * 5
    for row in rows:
        picture = np.frombuffer(row["pixels"], np.uint8).reshape(32, 32, 3)
        batch = int(row["source_file"].removeprefix("data_batch_")) - 1
        np.testing.assert_array_equal(picture, batches[batch][row["source_index"]])
        assert row["sample_id"] == sample_id(picture)
        assert row["class_name"] == cifar.CLASSES[row["label"]]
        assert row["source_name"].startswith(row["class_name"])


def test_the_set_of_seed_0_is_what_load_calibration_data_returns(lake: Lake, good: Path) -> None:
    build(lake, source="cifar10", data_dir=good)
    rows = lake.frame("calibration_samples").sort("ordinal")
    stored = np.frombuffer(b"".join(rows["pixels"]), np.uint8).reshape(-1, 32, 32, 3)
    images, labels, _ = load_calibration_data(str(good))
    np.testing.assert_array_equal(stored, images)
    assert rows["label"].to_list() == labels.tolist()


def test_no_image_of_the_test_batch_is_in_a_set(lake: Lake, good: Path) -> None:
    build(lake, source="cifar10", data_dir=good, samples_per_class=100)
    pixels, labels = cifar.pictures(105)
    first = np.array([np.count_nonzero(labels[:at] == label) for at, label in enumerate(labels)])
    test = {sample_id(picture) for picture in pixels[first >= 100]}
    assert not test & set(lake.frame("calibration_samples")["sample_id"])


def test_the_same_set_again_writes_nothing(lake: Lake, good: Path, folder: Path) -> None:
    first = build(lake, source="cifar10", data_dir=good, samples_per_class=3)
    again = build(lake, source="cifar10", data_dir=folder, samples_per_class=3)
    assert (first.was_there, again.was_there) == (False, True)
    assert again.run_id == first.run_id
    assert runs(lake) == 1


def test_another_set_under_the_same_name_is_refused(lake: Lake, good: Path) -> None:
    build(lake, source="cifar10", data_dir=good, samples_per_class=3, name="a")
    scaled = "groundlake.calibration.small_net:prepare"
    for change, said in (
        ({"samples_per_class": 4}, "images of each class 4, there 3"),
        ({"samples_per_class": 3, "seed": 1}, "seed 1, there 0"),
        ({"samples_per_class": 3, "preprocess": scaled}, f"--preprocess {scaled}, there none; preprocessing "),
    ):
        with pytest.raises(UsageError, match=r"calibration set a is in .* with other content") as raised:
            build(lake, source="cifar10", data_dir=good, name="a", **change)
        assert f"\n  different now: {said}" in str(raised.value)
    assert runs(lake) == 1


def test_a_set_of_changed_files_under_the_same_name_is_refused(lake: Lake, folder: Path) -> None:
    build(lake, source="cifar10", data_dir=folder, samples_per_class=3)
    pixels, labels = cifar.pictures(20, seed=9)
    cifar.dump(folder / "data_batch_1", cifar.batch(pixels, labels))
    with pytest.raises(UsageError, match=r"with other content\n.*\n  different now: files \w{12}, there \w{12}\n"):
        build(lake, source="cifar10", data_dir=folder, samples_per_class=3)


def test_a_set_that_was_withdrawn_can_be_built_again(lake: Lake, good: Path) -> None:
    first = build(lake, source="cifar10", data_dir=good, samples_per_class=3)
    lake.retract(first.run_id, "none", "made by mistake")
    again = build(lake, source="cifar10", data_dir=good, samples_per_class=3)
    assert not again.was_there
    assert lake.frame("calibration_builds")["run_id"].to_list() == [again.run_id]


def test_names_of_sets_say_what_they_are(lake: Lake, good: Path) -> None:
    names = [
        build(lake, source="cifar10", data_dir=good, samples_per_class=3).name,
        build(lake, source="cifar10", data_dir=good, samples_per_class=3, seed=7).name,
    ]
    assert names == ["cifar10-3-per-class", "cifar10-3-per-class-seed-7"]


def test_the_fingerprint_of_a_set_is_not_one_of_its_name(lake: Lake, good: Path) -> None:
    built = [build(lake, source="cifar10", data_dir=good, samples_per_class=3, name=name) for name in ("a", "b")]
    assert built[0].set_fingerprint == built[1].set_fingerprint
    other = build(lake, source="cifar10", data_dir=good, samples_per_class=3, seed=1, name="c")
    assert other.set_fingerprint != built[0].set_fingerprint


@pytest.mark.parametrize("name", ["", " a", "a/b", "../a", "-a", "a" * 81, "ä"])
def test_a_name_that_no_file_should_have_is_refused(lake: Lake, good: Path, name: str) -> None:
    with pytest.raises(UsageError, match="a name has letters"):
        build(lake, source="cifar10", data_dir=good, samples_per_class=3, name=name)


def test_arrays_and_batches_of_the_same_pictures_give_the_same_samples(lake: Lake, tmp_path: Path) -> None:
    pixels, labels = cifar.pictures(6)
    order = np.random.default_rng(5).permutation(60)
    np.savez(tmp_path / "a.npz", images=pixels[order], labels=labels[order], class_names=np.array(cifar.CLASSES))
    folder = cifar.write_cifar10(tmp_path / "cifar", per_class=6, test_per_class=0)
    sets = [
        build(lake, source="npz", data_dir=tmp_path / "a.npz", samples_per_class=4),
        build(lake, source="cifar10", data_dir=folder, samples_per_class=4),
    ]
    rows = [lake.frame("calibration_samples", run_id=each.run_id).sort("ordinal") for each in sets]
    assert rows[0]["sample_id"].to_list() == rows[1]["sample_id"].to_list()
    assert rows[0]["pixels"].to_list() == rows[1]["pixels"].to_list()
    assert (sets[0].split, sets[1].split) == ("unknown", "train")
    assert rows[0]["source_name"].null_count() == 40


def test_pictures_that_are_there_twice_are_told_with_the_run(lake: Lake, tmp_path: Path) -> None:
    pixels, labels = cifar.pictures(6)
    np.savez(tmp_path / "a.npz", images=np.concatenate([pixels, pixels]), labels=np.concatenate([labels, labels]))
    built = build(lake, source="npz", data_dir=tmp_path / "a.npz", samples_per_class=6)
    expected = "repeated: 60 of 120 pictures are there more than once and were not counted"
    assert built.remarks[0] == expected
    assert lake.runs()["warnings"].to_list() == [list(built.remarks)]


def test_a_set_of_images_that_nobody_compared_with_test_images_says_so(lake: Lake, tmp_path: Path) -> None:
    pixels, labels = cifar.pictures(2)
    for name in ("a", "train", "test"):
        np.savez(tmp_path / f"{name}.npz", images=pixels, labels=labels)
    remarks = {
        name: build(lake, source="npz", data_dir=tmp_path / where, samples_per_class=2, name=name).remarks
        for name, where in (("file", "a.npz"), ("folder", "."))
    }
    assert [remark.partition(":")[0] for name in ("file", "folder") for remark in remarks[name]] == [
        "split_unknown",
        "not_compared",
    ]
    batches = cifar.write_cifar10(tmp_path / "cifar", per_class=5, test_per_class=0)
    (_, remark) = build(lake, source="cifar10", data_dir=batches, samples_per_class=2, name="cifar").remarks
    assert remark.startswith("not_compared: ")
    cifar.write_cifar10(batches, per_class=5, test_per_class=2)
    assert read("cifar10", batches).is_compared
    with pytest.raises(UsageError, match=r"test\.npz is called test: calibrated with test images"):
        build(lake, source="npz", data_dir=tmp_path / "test.npz", samples_per_class=2)


def test_a_set_that_lost_images_is_built_again(lake: Lake, good: Path) -> None:
    first = build(lake, source="cifar10", data_dir=good, samples_per_class=3)
    for part in (lake.root / "calibration_samples").rglob("*.parquet"):
        part.unlink()
    again = build(lake, source="cifar10", data_dir=good, samples_per_class=3)
    assert not again.was_there
    assert again.set_fingerprint == first.set_fingerprint
    assert open_set(lake, again.name).pixels().shape == (30, 32, 32, 3)
    assert build(lake, source="cifar10", data_dir=good, samples_per_class=3).run_id == again.run_id


def test_a_run_names_its_folder_wherever_it_was_asked_from(
    lake: Lake, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(good)
    build(lake, source="cifar10", data_dir=".", samples_per_class=3)
    assert lake.runs()["sources"][0][0]["uri"] == "cifar-10-batches-py"


def test_wrong_data_leave_no_trace_in_the_lake(lake: Lake, folder: Path) -> None:
    (folder / "data_batch_2").write_bytes(b"")
    with pytest.raises(UsageError, match="data_batch_2"):
        build(lake, source="cifar10", data_dir=folder)
    assert not lake.exists


def test_a_malicious_batch_stops_the_command_with_its_reason(cli, folder: Path, tmp_path: Path) -> None:
    class Shell:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    cifar.dump(folder / "data_batch_2", {b"data": Shell()}, protocol=4)
    done = cli("calibration", "build", "--source", "cifar10", "--data-dir", folder, code=2)
    assert "data_batch_2: refused" in done.stderr
    assert "system" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "lake").exists()


def test_the_command_of_the_document_prints_what_the_document_asks_for(good: Path) -> None:
    lines = module("--data-dir", good, "--samples-per-class", "100").stdout.splitlines()
    assert lines[0] == "Loaded 1000 calibration samples"
    assert [line.split()[:2] for line in lines[2:12]] == [[name, "100"] for name in cifar.CLASSES]
    assert lines[-4:] == [
        "dtype: float32",
        "shape: (1000, 32, 32, 3)",
        "pixel range: [0.0, 255.0]",
        "NHWC format confirmed",
    ]
    assert "normaliz" not in "\n".join(lines)


def test_the_command_of_the_document_ends_as_lake_does(good: Path, tmp_path: Path) -> None:
    assert "take at most 100" in module("--data-dir", good, "--samples-per-class", "101", code=2).stderr
    assert "is not there" in module("--data-dir", tmp_path / "nowhere", code=2).stderr
    assert module("--samples-per-class", "many", code=2).stderr
    black = np.zeros((20, 32, 32, 3), np.uint8)
    black[:, 0, :20, 0] = np.eye(20, dtype=np.uint8)  # values of 0 and 1, as of an image that was divided
    folder = cifar.write_cifar10(tmp_path / "black", per_class=10, test_per_class=0)
    labels = np.repeat(np.arange(10), 2)
    for number in range(1, 6):
        cifar.dump(folder / f"data_batch_{number}", cifar.batch(black, labels))
    done = module("--data-dir", folder, "--samples-per-class", "2", code=1)
    assert "divided by 255" in done.stderr
    assert "note: repeated: 80 of 100 pictures are there more than once" in done.stderr


def test_the_command_of_the_document_ends_well_where_nobody_reads_it(good: Path) -> None:
    command = [sys.executable, "-m", "groundlake.calibration", "--data-dir", str(good)]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_the_command_of_the_document_says_that_the_disk_is_full(good: Path) -> None:
    command = [sys.executable, "-m", "groundlake.calibration", "--data-dir", str(good)]
    try:
        full = open("/dev/full", "wb")  # noqa: PTH123, SIM115 - a device of Linux
    except OSError:
        pytest.skip("no /dev/full here")
    with full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.endswith("error: the system: No space left on device\n")
