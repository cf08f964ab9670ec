"""`lake kv`: what KV-cache budgets cost in answers. Here: settings, tasks, and what the stages share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import app
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.settings import Settings, command

if TYPE_CHECKING:
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


def read_evaluation(config: str, override: list[str] | None, *, print_config: bool = False) -> Evaluation | None:
    """Read the settings of an evaluation; None where they were printed, which is all that was wanted.

    Raises:
        UsageError: A setting is wrong; the message has the path of every wrong key.
    """
    from groundlake.transition.configuration.config_file import load_settings

    evaluation = load_settings(config, tuple(override or ()))
    if not print_config:
        return evaluation
    print(evaluation.to_yaml(), end="")
    return None


@command(kv, KV, "validate")
def validate(
    settings: Settings,
    config: ConfigOption,
    override: OverrideOption = None,
    print_config: PrintConfigOption = False,
) -> None:
    """Check every setting, and that data, tokenizer and local model are there; name each that is wrong by its path."""
    from groundlake.transition.configuration.presence import require_present

    del settings
    evaluation = read_evaluation(config, override, print_config=print_config)
    if evaluation is None:
        return
    require_present(evaluation)
    budgets = ", ".join(f"{budget:g}" for budget in evaluation.kv.budgets)
    model = evaluation.model.name or evaluation.model.path
    print(f"{config}: settings are complete")
    print(f"  {evaluation.dataset_id}, {model} by {evaluation.engine.type}, {evaluation.kv.policy} at {budgets}")


@command(kv, KV, "resolve")
def resolve(
    settings: Settings,
    config: ConfigOption,
    override: OverrideOption = None,
    print_config: PrintConfigOption = False,
) -> None:
    """Print where a group lies and how far it is, as name=value."""
    from groundlake.transition.data.prepare import group_folder
    from groundlake.transition.stages import STAGES, is_done

    evaluation = read_evaluation(config, override, print_config=print_config)
    if evaluation is None:
        return
    print(f"exp_group_id={evaluation.output.exp_group_id}")
    print(f"dataset_id={evaluation.dataset_id}")
    print(f"folder={group_folder(evaluation)}")
    print(f"lake={settings.lake.root}")
    print(f"tokenizer={evaluation.tokenizer_source}")
    print(f"budgets={','.join(f'{budget:g}' for budget in evaluation.kv.budgets)}")
    for stage in STAGES:
        print(f"{stage}={'done' if is_done(stage, evaluation, settings.lake) else 'to do'}")


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
