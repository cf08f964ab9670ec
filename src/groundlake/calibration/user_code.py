"""Find the function that an evaluation prepares its images with, by its name: `package.module:function`."""

from __future__ import annotations

import difflib
import importlib
import sys
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

FORM = "package.module:function"
OPTION = "--preprocess"


@contextmanager
def from_working_directory() -> Iterator[None]:
    """Let modules of the working directory be imported in the block, as `python -m` does; they come first."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's code may have put the path in order
            sys.path.remove(here)


def working_function(named: str, called: str = OPTION) -> Callable[[NDArray[Any]], ArrayLike]:
    """Import a function, from the working directory too, and let it import from there whenever it is called.

    Args:
        named: Its name, as for `find_function`.
        called: As for `find_function`.

    Raises:
        UsageError: As `find_function` says.
    """
    with from_working_directory():
        found = find_function(named, called)

    @wraps(found)
    def function(images: NDArray[Any]) -> ArrayLike:
        with from_working_directory():
            return found(images)

    return function


def find_function(named: str, called: str = OPTION) -> Callable[[NDArray[Any]], ArrayLike]:
    """Import the function that `package.module:function` names; attributes may follow one another behind the colon.

    Args:
        named: Its name.
        called: What stands before the name in a message: the option that it was given with, or what was made with it.

    Raises:
        UsageError: The name has another form, there is no such module or function, or the module fails on import.
    """
    module_name, _, path = named.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise UsageError(f"{called} {named!r}: a function is named as {FORM}")
    found: Any = _module(f"{called} {named}", module_name)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = difflib.get_close_matches(part, [name for name in dir(found) if not name.startswith("_")], n=3)
            meant = f"; did you mean {', '.join(near)}?" if near else ""
            raise UsageError(f"{called} {named}: {module_name} has no {part!r}{meant}") from None
        except (Exception, SystemExit) as error:  # a property, or a module that imports on first use
            raise UsageError(f"{called} {named}: {part!r} fails: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UsageError(f"{called} {named}: is no function, but {type(found).__name__}")
    function: Callable[[NDArray[Any]], ArrayLike] = found
    return function


def _module(function: str, module_name: str) -> object:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UsageError(
                f"{function}: there is no module {error.name!r}, neither installed nor in {Path.cwd()}"
            ) from None
        raise UsageError(f"{function}: importing {module_name} fails: {error}") from error
    except (Exception, SystemExit) as error:  # the module is the user's: it may raise anything
        raise UsageError(f"{function}: importing {module_name} fails: {type(error).__name__}: {error}") from error
