"""A file that says it is of CIFAR-10 may be anything: what it asks for is refused before any of it runs."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from typing import TYPE_CHECKING, Any

import cifar
import numpy as np
import pytest

from groundlake.calibration.sources import pickles
from groundlake.errors import LakeEnvironmentError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

RECONSTRUCT = np.ndarray((1,), np.uint8).__reduce__()[0]


class Calls:
    """Is pickled as a call of a function."""

    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self.what = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.what


def payload(value: object, protocol: int = 4) -> bytes:
    return pickle.dumps(value, protocol)


def refusal(data: bytes) -> str:
    with pytest.raises(UsageError) as raised:
        pickles.loads(data, "data_batch_1")
    assert str(raised.value).startswith("data_batch_1: ")
    return str(raised.value)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_batches_of_every_protocol_that_holds_them_are_read_alike(tmp_path: Path, protocol: int) -> None:
    pixels, labels = cifar.pictures(2)
    facts = cifar.batch(pixels, labels)
    cifar.dump(tmp_path / "data_batch_1", facts, protocol)
    read = pickles.loads(pickles.read_bytes(tmp_path / "data_batch_1"), "data_batch_1")
    assert read.keys() == facts.keys()
    assert read[b"data"].dtype == np.uint8
    np.testing.assert_array_equal(read[b"data"], facts[b"data"])
    assert read[b"labels"] == facts[b"labels"]
    assert read[b"filenames"] == facts[b"filenames"]


def test_made_batches_have_the_globals_and_the_opening_of_the_real_ones(tmp_path: Path) -> None:
    pixels, labels = cifar.pictures(1)
    cifar.dump(tmp_path / "data_batch_1", cifar.batch(pixels, labels))
    data = (tmp_path / "data_batch_1").read_bytes()
    named = {argument for opcode, argument, _ in pickletools.genops(data) if opcode.name == "GLOBAL"}
    assert named == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
    assert data.startswith(b"\x80\x02}q\x00(U\x0bbatch_label")


def shell(marker: Path) -> object:
    return {"data": Calls(os.system, f"touch {marker}")}


def evaluation(marker: Path) -> object:
    return {"labels": Calls(eval, f"open({str(marker)!r}, 'w').close()")}


def call_in_an_argument(marker: Path) -> object:
    return {"data": Calls(RECONSTRUCT, Calls(os.system, f"touch {marker}"), (0,), "b")}


def call_in_a_state(marker: Path) -> object:
    return {"data": Calls(RECONSTRUCT, np.ndarray, (0,), "b", state=(Calls(os.system, f"touch {marker}"),))}


def call_in_a_key(marker: Path) -> object:
    return {Calls(os.system, f"touch {marker}"): "data"}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("make", [shell, evaluation, call_in_an_argument, call_in_a_state, call_in_a_key])
def test_a_call_is_refused_by_name_and_never_runs(make: Any, protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    data = payload(make(marker), protocol)
    message = refusal(data)
    assert "refused" in message
    assert "nothing of it was run" in message
    assert "eval" in message or "system" in message
    assert not marker.exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        try:
            pickle.loads(data)  # noqa: S301 - shows that the attack is a real one
        except (TypeError, ValueError):
            assert marker.exists()  # NumPy refuses what the call gave, when it is done
    assert marker.exists()


def test_a_name_that_is_put_together_on_the_stack_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    command = f"touch {marker}".encode()
    data = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x8c" + bytes([len(command)]) + command + b"\x85R."
    assert "posix.system" in refusal(data)
    assert not marker.exists()


@pytest.mark.parametrize("shape", [(2**30,), (2**31 - 1, 2**31 - 1), (1,)])
def test_an_array_is_not_made_for_a_shape_that_nothing_fills(shape: tuple[int, ...]) -> None:
    assert "without saying what is in it" in refusal(payload({b"data": Calls(RECONSTRUCT, np.ndarray, shape, b"b")}))


def test_a_shape_must_have_the_bytes_that_the_file_has(tmp_path: Path) -> None:
    state = (1, (10**9, 3072), np.dtype(np.uint8), False, b"few")
    assert "should have 3072000000000 bytes, got 3" in refusal(
        payload({b"data": Calls(RECONSTRUCT, np.ndarray, (0,), b"b", state=state)})
    )
    negative = (1, (-1, -3), np.dtype(np.uint8), False, b"few")
    assert "shape (-1, -3)" in refusal(payload({b"data": Calls(RECONSTRUCT, np.ndarray, (0,), b"b", state=negative)}))


@pytest.mark.parametrize("dtype", ["f4", "O", "i8", "V8", "S4"])
def test_an_array_of_another_type_is_refused(dtype: str) -> None:
    assert "its array" in refusal(payload({b"data": np.zeros(3, dtype)}))


def test_a_type_that_is_changed_behind_its_name_is_refused() -> None:
    forged = Calls(np.dtype, "u1", 0, 1, state=(3, "|", None, None, None, -1, -1, 63))
    state = (1, (3,), forged, False, b"few")
    assert "type of its own making" in refusal(
        payload({b"data": Calls(RECONSTRUCT, np.ndarray, (0,), b"b", state=state)})
    )


def test_a_function_of_the_reader_is_not_changed_by_a_file() -> None:
    set_state = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}U\x04nameU\x05dtypesb."
    assert "changes numpy's _reconstruct" in refusal(set_state)


def test_an_array_is_not_called() -> None:
    assert "it calls numpy.ndarray" in refusal(payload({b"data": Calls(np.ndarray, (2**30,))}))


def test_tuples_that_double_sixty_times_are_refused_before_they_are_hashed() -> None:
    doubled: tuple[object, ...] = ()
    for _ in range(60):
        doubled = (doubled, doubled)
    stream = io.BytesIO()
    writer = pickle.Pickler(stream, 4)
    writer.dump([doubled])
    assert "tuples and objects" in refusal(stream.getvalue())


def test_lists_that_double_are_told_in_short() -> None:
    doubled: list[object] = []
    for _ in range(14):
        doubled = [doubled, doubled]
    forged = Calls(np.dtype, "u1", 0, 1, state=doubled)
    assert len(refusal(payload({b"data": forged}))) < 600


@pytest.mark.parametrize("opcode", [b"]", b"}"])
def test_more_lists_than_a_batch_has_are_refused_before_they_take_memory(opcode: bytes) -> None:
    assert "more than 16 lists and dictionaries" in refusal(b"\x80\x02}(" + 17 * opcode + b"tb.")


def test_a_file_of_more_entries_than_a_batch_can_have_is_refused() -> None:
    assert "more than 1,000,000 opcodes" in refusal(b"\x80\x02](" + b"N" * 1_000_001 + b"e.")


def test_a_shape_of_many_lengths_is_refused_before_they_are_multiplied() -> None:
    state = (1, (2**31 - 1,) * 300_000, np.dtype(np.uint8), False, b"few")
    assert "its array has the shape (2147483647, 2147483647, " in refusal(
        payload({b"data": Calls(RECONSTRUCT, np.ndarray, (0,), b"b", state=state)})
    )


def test_memory_for_memos_that_no_object_has_is_refused() -> None:
    assert "asks for memory" in refusal(b"\x80\x02}r\xff\xff\xff\x7f.")


@pytest.mark.parametrize("value", [{1, 2}, 1.5, 2**80, bytearray(b"x"), complex(1, 2)])
def test_kinds_that_those_files_never_hold_are_refused(value: object) -> None:
    assert "refused" in refusal(payload({b"data": value}))


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_file_that_is_cut_off_says_so(tmp_path: Path, kept: int) -> None:
    pixels, labels = cifar.pictures(1)
    cifar.dump(tmp_path / "data_batch_1", cifar.batch(pixels, labels))
    message = refusal((tmp_path / "data_batch_1").read_bytes()[:kept])
    assert "cut off or damaged" in message


@pytest.mark.parametrize(
    "data", [b"\x80\x02R.", b"\x80\x02h\x05.", b"\x80\x02U\x02ab}b.", b"<html>", b"c\\e\na\n.", b"\x80\x02)."]
)
def test_a_file_that_makes_no_sense_says_so(data: bytes) -> None:
    assert "data_batch_1" in refusal(data)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1"
    with path.open("wb") as file:
        file.truncate(pickles.SIZE_LIMIT + 1)  # takes no room on the disk
    with pytest.raises(UsageError, match="more than 64 MiB"):
        pickles.read_bytes(path)


def test_a_file_that_is_gone_is_told_as_one_of_the_environment(tmp_path: Path) -> None:
    with pytest.raises(LakeEnvironmentError, match="data_batch_1"):
        pickles.read_bytes(tmp_path / "data_batch_1")
