"""`lake kv`: what KV-cache budgets cost in answers. Here: settings, tasks, and what the stages share."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundlake.cli.app import app
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.settings import Settings, command

if TYPE_CHECKING:
    from collections.abc import Callable

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings as Evaluation

KV = "KV-cache budgets"

kv = typer.Typer(
    help="KV-cache budgets: at which budget, and at which lengths, do a model's answers collapse?",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(kv, name="kv", rich_help_panel=KV)

ConfigOption = Annotated[
    str,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE|PROFILE",
        help="Settings: a YAML file, or the name of a profile, such as sanity.",
    ),
]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option("--override", metavar="A.B=C", help="A setting over that of the file; may be given several times."),
]
ConcurrencyOption = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        metavar="N",
        help="Requests under way at once, in place of the setting engine.concurrency; 1 for a local model.",
    ),
]
PrintConfigOption = Annotated[
    bool, typer.Option("--print-config", help="Print the resolved settings without secrets, and do nothing else.")
]
RunIdOption = Annotated[
    str | None, typer.Option("--run-id", metavar="ID", help="Only this run, or the budget with this id.")
]
PartialOption = Annotated[
    bool, typer.Option("--allow-partial", help="Go on with what is there; the report says PARTIAL RUN.")
]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Begin the group anew where data, tokenizer, prompt or settings differ from what it holds: "
        "earlier answers stay in the lake and no longer count.",
    ),
]


@dataclass(frozen=True)
class Group:
    """What a command of an evaluation works on: the group of runs that its settings describe."""

    settings: Settings
    evaluation: Evaluation
    config: str
    """The file or profile that was named."""

    @property
    def lake(self) -> Lake:
        """The lake that holds the group."""
        return self.settings.lake

    @property
    def exp_group_id(self) -> str:
        """The id that all runs of the group share."""
        return str(self.evaluation.output.exp_group_id)


def group_command(name: str, *, asks: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command of `lake kv` whose first parameter is a `Group`.

    --config, --override and --print-config are added to it; with the last one, the settings are printed and the command
    itself does not run. A setting that is wrong ends it with the path of every wrong key.

    Args:
        name: Of the command.
        asks: It asks a model: --concurrency is added to it as well, and stands over the setting of the same name.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()

        @functools.wraps(function)
        def run(
            settings: Settings,
            *,
            config: str,
            override: list[str] | None,
            print_config: bool,
            concurrency: int | None = None,
            **options: Any,  # noqa: ANN401 - typer's
        ) -> None:
            from groundlake.transition.configuration.config_file import load_settings

            options_told = {} if concurrency is None else {"--concurrency": f"engine.concurrency={concurrency}"}
            evaluation = load_settings(config, override or (), options=options_told)
            if print_config:
                print(evaluation.to_yaml(), end="")
            else:
                function(Group(settings, evaluation, config), **options)

        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter("settings", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Settings),
            inspect.Parameter("config", keyword, annotation=ConfigOption),
            inspect.Parameter("override", keyword, annotation=OverrideOption, default=None),
            inspect.Parameter("print_config", keyword, annotation=PrintConfigOption, default=False),
            *(parameter.replace(kind=keyword) for parameter in own),
            *([inspect.Parameter("concurrency", keyword, annotation=ConcurrencyOption, default=None)] if asks else []),
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # `command` reads it
        return command(kv, KV, name)(run)

    return register


@group_command("validate")
def validate(group: Group) -> None:
    """Check every setting, and that data, tokenizer and local model are there; name each that is wrong by its path."""
    from groundlake.transition.configuration.presence import require_present

    evaluation = group.evaluation
    require_present(evaluation)
    budgets = ", ".join(f"{budget:g}" for budget in evaluation.kv.budgets)
    model = evaluation.model.name or evaluation.model.path
    print(f"{group.config}: settings are complete")
    print(f"  {evaluation.dataset_id}, {model} by {evaluation.engine.type}, {evaluation.kv.policy} at {budgets}")


@group_command("resolve")
def resolve(group: Group) -> None:
    """Print where a group lies and how far it is, as name=value."""
    from groundlake.transition.data.prepare import group_folder
    from groundlake.transition.stages import STAGES, is_done

    evaluation = group.evaluation
    print(f"exp_group_id={group.exp_group_id}")
    print(f"dataset_id={evaluation.dataset_id}")
    print(f"folder={group_folder(evaluation)}")
    print(f"lake={group.lake.root}")
    print(f"tokenizer={evaluation.tokenizer_source}")
    print(f"budgets={','.join(f'{budget:g}' for budget in evaluation.kv.budgets)}")
    for stage in STAGES:
        print(f"{stage}={'done' if is_done(stage, evaluation, group.lake) else 'to do'}")


@command(kv, KV, "tasks")
def tasks(settings: Settings, form: FormatOption = Format.TABLE, output: OutOption = None) -> None:
    """List the tasks that can be asked and scored: metric, longest answer, language."""
    import polars as pl

    from groundlake.transition.scoring.tasks import TASKS

    del settings
    rows = [
        {
            "task": task.name,
            "metric": task.metric,
            "max_new_tokens": task.max_new_tokens,
            "language": task.language,
            "asked_as": "conversation" if task.chat_template else "continuation",
            "scored": "first line" if task.first_line_only else "whole answer",
        }
        for task in TASKS.values()
    ]
    print_rows(pl.DataFrame(rows), form, output)
