"""Read the pickles that CIFAR-10 comes as, without letting them do anything.

A pickle is a program: it may call whatever it names. Here it may name the three things that the files of CIFAR-10
name (NumPy's function that makes an array, the array, its type), and does not even get those: stand-ins take their
place, which check each argument and only keep the bytes. So no code of NumPy sees what an unknown file says, nothing is
allocated for a shape that the file does not fill, and whatever else a file asks for is refused before any of it runs.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import reprlib
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from groundlake.errors import LakeEnvironmentError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

SIZE_LIMIT = 64 * 2**20
"""Bytes of the largest file that is read; a batch of CIFAR-10 has 31 MB."""

RECONSTRUCT, NDARRAY, DTYPE = "_reconstruct", "ndarray", "dtype"
ALLOWED = {
    ("numpy.core.multiarray", RECONSTRUCT),
    ("numpy._core.multiarray", RECONSTRUCT),  # its name since NumPy 2
    ("numpy", NDARRAY),
    ("numpy", DTYPE),
}

_PLAIN = frozenset(
    {"PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2"}
    | {"BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINUNICODE", "SHORT_BINUNICODE"}
    | {"APPEND", "APPENDS", "SETITEM", "SETITEMS"}
    | {"BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "MEMOIZE"}
)
"""Opcodes of numbers and text, and of what fills lists and dictionaries: a file may have many of them."""

_MOST = 1_000_000
"""Opcodes of a file; a batch of CIFAR-10 has 40 thousand. A file of 64 MiB may have as many of a byte each, and take
minutes for them."""

_CONTAINERS = frozenset({"EMPTY_LIST", "EMPTY_DICT"})
_MOST_CONTAINERS = 16
"""Lists and dictionaries, of which a batch has 3. An empty one takes a byte of the file and sixty of memory."""

_FEW = frozenset(
    {"EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"},
)
_MOST_OF_FEW = 16
"""Opcodes of an array, which has 13 of them. Many make a file that takes for ever: a tuple of two equal tuples, sixty
times over, has 2 ** 60 members when it is hashed."""

_MOST_AXES = 4
"""Of an array, which has 2. The product of a million lengths takes for ever, too."""

_UINT8 = ("u1", 0, 1)
"""What NumPy's type of bytes is called with; today it writes False and True for 0 and 1, which are equal to them."""
_UINT8_STATE = (3, "|", None, None, None, -1, -1, 0)

_BROKEN = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What Python's reader raises for a file that is cut off, or makes no sense."""


def read_bytes(path: Path) -> bytes:
    """Read a file whole, unless it is larger than any of CIFAR-10.

    Raises:
        UsageError: It is too large.
        LakeEnvironmentError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise LakeEnvironmentError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > SIZE_LIMIT:
        raise UsageError(
            f"{path.name}: refused, it has more than {SIZE_LIMIT // 2**20} MiB; a batch of CIFAR-10 has 31 MB\n"
            "  unpack cifar-10-python.tar.gz again, and give the folder cifar-10-batches-py"
        )
    return data


def loads(data: bytes, name: str) -> dict[bytes, Any]:
    """Read the dictionary that a file of CIFAR-10 holds; arrays in it are uint8, and may not be written to.

    Args:
        data: Content of the file.
        name: Its name, for messages.

    Raises:
        UsageError: It is cut off, or no such file, or asks for anything that those files never ask for.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of odd text in a damaged file, which is refused below
            _scan(data)
            value = _Reader(io.BytesIO(data), encoding="bytes").load()
    except _RefusedError as error:
        raise UsageError(
            f"{name}: refused, {error}\n  nothing of it was run; files of CIFAR-10 for Python hold one dictionary of "
            "lists and one array of bytes\n  unpack cifar-10-python.tar.gz again; arrays of your own: --source npz"
        ) from None
    except _BROKEN as error:
        raise UsageError(
            f"{name}: cut off or damaged, it cannot be read to its end ({error or type(error).__name__})\n"
            f"  it has {len(data)} bytes; a batch of CIFAR-10 has 31 MB. Unpack cifar-10-python.tar.gz again"
        ) from None
    if not isinstance(value, dict):
        raise UsageError(f"{name}: holds a {type(value).__name__}, files of CIFAR-10 for Python hold a dictionary")
    return {_key(key, name): _as_array(item) for key, item in value.items()}


class _RefusedError(Exception):
    """A file asks for something that it must not have."""


class _Array:
    """Stands for an array of NumPy while a file is read: its shape and its bytes, checked."""

    def __init__(self) -> None:
        self.value: np.ndarray[Any, np.dtype[np.uint8]] | None = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (1, tuple() as shape, _Uint8(), False, bytes() as data):
                pass
            case (1, tuple(), _Uint8(), True, bytes()):
                raise _RefusedError("its array lies column by column, those of CIFAR-10 lie row by row")
            case _:
                raise _RefusedError("its array is not one of bytes (uint8)")
        if len(shape) > _MOST_AXES or not all(type(length) is int and length >= 0 for length in shape):
            raise _RefusedError(f"its array has the shape {_shown(shape)}")
        if math.prod(shape) != len(data):
            raise _RefusedError(f"its array of shape {shape} should have {math.prod(shape)} bytes, got {len(data)}")
        self.value = np.frombuffer(data, dtype=np.uint8).reshape(shape)


class _Uint8:
    """Stands for the type of an array, which is uint8 and nothing else."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        if _as_text(state) != _UINT8_STATE:
            raise _RefusedError(f"its array has a type of its own making: {_shown(state)}")


class _Name:
    """Stands for one of the three names that a file may say; can be called as the real one is, and not changed."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: object) -> _Array | _Uint8:
        if self.name == RECONSTRUCT:
            return _reconstruct(arguments)
        if self.name == DTYPE and _as_text(arguments) == _UINT8:
            return _Uint8()
        if self.name == DTYPE:
            raise _RefusedError(f"its array has the type {_shown(arguments)}, those of CIFAR-10 have uint8")
        raise _RefusedError(f"it calls numpy.{self.name}{_shown(arguments)}")

    def __setstate__(self, state: object) -> NoReturn:
        raise _RefusedError(f"it changes numpy's {self.name}")


def _reconstruct(arguments: tuple[object, ...]) -> _Array:
    """Make an empty array, as every pickle of an array begins; any other length would only take memory."""
    match arguments:
        case (_Name(name="ndarray"), (0,), b"b" | "b"):
            return _Array()
        case (_Name(name="ndarray"), tuple() as shape, _):
            raise _RefusedError(f"it asks for an array of shape {_shown(shape)} without saying what is in it")
        case _:
            raise _RefusedError(f"it calls numpy's {RECONSTRUCT} in a way that NumPy never writes")


class _Reader(pickle.Unpickler):
    """Python's reader of pickles, with the stand-ins in place of whatever is named."""

    def find_class(self, module_name: str, global_name: str, /) -> _Name:
        if (module_name, global_name) not in ALLOWED:
            raise _RefusedError(f"it asks for {module_name}.{global_name}"[:200])
        return _Name(global_name)

    def persistent_load(self, pid: object) -> NoReturn:
        raise _RefusedError(f"it asks for an object from elsewhere: {_shown(pid)}")


def _scan(data: bytes) -> None:
    """Look through the opcodes before any of them is carried out.

    Raises:
        _RefusedError: One of them has no place in a file of CIFAR-10.
        ValueError: The file is cut off.
    """
    few = containers = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name == "GLOBAL" and tuple(str(argument).split(" ", 1)) not in ALLOWED:
            raise _RefusedError(f"it asks for {'.'.join(str(argument).split(' ', 1))}"[:200])
        if count > _MOST:
            raise _RefusedError(f"it has more than {_MOST:,} opcodes, a batch has 40,000")
        if opcode.name in _FEW:
            few += 1
        elif opcode.name in _CONTAINERS:
            containers += 1
        elif opcode.name not in _PLAIN:
            raise _RefusedError(f"it has the opcode {opcode.name}, which those files never have")
        if few > _MOST_OF_FEW:
            raise _RefusedError(f"it makes more than {_MOST_OF_FEW} tuples and objects; those files make 13")
        if containers > _MOST_CONTAINERS:
            raise _RefusedError(f"it makes more than {_MOST_CONTAINERS} lists and dictionaries; those files make 3")
        if opcode.name in ("BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > count:
            raise _RefusedError(f"it asks for memory for {argument} objects, and has made at most {count}")


def _key(key: object, name: str) -> bytes:
    """Return a key of the dictionary as Python 2 wrote it: bytes."""
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, bytes):
        return key
    raise UsageError(f"{name}: has the key {_shown(key)}, those of CIFAR-10 are text")


def _as_array(item: object) -> object:
    """Return the array that a stand-in has read."""
    return item.value if isinstance(item, _Array) else item


def _as_text(values: object) -> object:
    """Return a tuple with bytes, as Python 2 wrote text, as text."""
    if not isinstance(values, tuple):
        return values
    return tuple(value.decode("latin-1") if isinstance(value, bytes) else value for value in values)


def _shown(value: object) -> str:
    """Return a short form of what a file holds: all of it may be endless."""
    return reprlib.repr(value)[:80]
