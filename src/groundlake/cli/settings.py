"""What every command has: --root, --quiet and --debug (before or after its name), and one place that ends errors."""

from __future__ import annotations

import functools
import inspect
import os
import shlex
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from groundlake.errors import INTERRUPTED, LakeEnvironmentError, LakeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from groundlake.store import Lake

Root = Annotated[
    str | None,
    typer.Option(
        "--root",
        envvar="LAKE_ROOT",
        show_envvar=True,
        metavar="PLACE",
        help="Data root of the lake: a folder, or s3://bucket/prefix. [default: lake]",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no remarks; errors and the result stay.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="Ask the lake as it was at this time: 2026-11-20, 2026-11-20T17:30 (UTC), or with an offset as +01:00.",
    ),
]


@dataclass(frozen=True)
class Settings:
    """The options that every command shares."""

    root: str = "lake"
    quiet: bool = False
    debug: bool = False

    @property
    def lake(self) -> Lake:
        """The lake at the root."""
        from groundlake.store import Lake

        return Lake(self.root)

    def lake_as_of(self, time: str | None) -> Lake:
        """The lake at the root as it was at a time; as it is now where there is none.

        Raises:
            UsageError: The time cannot be read.
        """
        if time is None:
            return self.lake
        from groundlake.store import Lake

        return Lake(self.root, as_of=time)

    def remark(self, text: str) -> None:
        """Say something that is not the result: on stderr, when a person is looking."""
        if not self.quiet and sys.stderr is not None and sys.stderr.isatty():
            say(text)


def say(text: str) -> None:
    """Print on stderr, and go on where nobody reads it any more."""
    with suppress(OSError):
        print(text, file=sys.stderr)


def without_reader() -> None:
    """Let what is still to be printed go nowhere: the reader of stdout (`| head`) has what it wanted."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def how_to_ask(view_file: Path, view: str = "model_summary") -> str:
    """Say how to ask more with DuckDB's command line, from the folder the user is in."""
    return f'ask: duckdb -readonly {shlex.quote(os.path.relpath(view_file))} "select * from {view}"'


def command(
    app: typer.Typer, panel: str, name: str | None = None, cls: type[TyperCommand] = TyperCommand
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose first parameter is `settings`; the shared options are added to it."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "settings"]

        @functools.wraps(function)
        def run(ctx: typer.Context, root: Root, *, quiet: bool, debug: bool, **options: Any) -> None:  # noqa: ANN401 - typer's
            settings = _merged(ctx, root, quiet=quiet, debug=debug)
            _guard(functools.partial(function, settings, **options), settings)

        keyword = inspect.Parameter.KEYWORD_ONLY
        shared = [
            inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
            *(parameter.replace(kind=keyword) for parameter in own),
            inspect.Parameter("root", keyword, annotation=Root, default=None),
            inspect.Parameter("quiet", keyword, annotation=Quiet, default=False),
            inspect.Parameter("debug", keyword, annotation=Debug, default=False),
        ]
        run.__signature__ = inspect.Signature(shared)  # type: ignore[attr-defined] # typer reads it
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in shared}
        app.command(name, cls=cls, rich_help_panel=panel)(run)
        return function

    return register


def _merged(ctx: typer.Context, root: str | None, *, quiet: bool, debug: bool) -> Settings:
    """Combine the options before the command with those after it; the ones after it win."""
    before = ctx.obj if isinstance(ctx.obj, Settings) else Settings()
    # LAKE_ROOT reaches the command's own --root too, and must not beat a --root given before the command.
    given = ctx.get_parameter_source("root")
    explicit = root is not None and given is not None and given.name == "COMMANDLINE"
    return replace(
        before,
        root=root if explicit and root is not None else before.root,
        quiet=quiet or before.quiet,
        debug=debug or before.debug,
    )


def _guard(run: Callable[[], None], settings: Settings) -> None:
    """Run a command and end it with the documented exit code, and without a traceback unless --debug."""
    try:
        run()
        sys.stdout.flush()
    except LakeError as error:
        _end(error, settings)
    except KeyboardInterrupt:
        say("interrupted; what was committed is in the lake")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        without_reader()  # Python would complain about stdout once more at exit
    except OSError as error:
        _end(LakeEnvironmentError(f"{error.filename or 'the system'}: {error.strerror or error}"), settings, error)
    except Exception as error:
        if isinstance(error, (typer.Exit, typer.Abort)):
            raise
        if settings.debug:
            raise
        say(
            f"error: this is a defect of groundlake: {type(error).__name__}: {error}\n"
            "run the command again with --debug and report what it prints"
        )
        raise typer.Exit(1) from None


def _end(error: LakeError, settings: Settings, cause: BaseException | None = None) -> None:
    if settings.debug:
        traceback.print_exception(cause or error)
    else:
        say(f"error: {error}")
    raise typer.Exit(error.exit_code) from None
