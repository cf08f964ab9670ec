"""`lake kv verify` and `lake kv sample`: whether an evaluation is whole, and what its answers look like."""

from __future__ import annotations

from typing import Annotated

import typer

from groundlake.cli.kv import Group, RunIdOption, group_command
from groundlake.cli.kv_words import check_words, sample_words
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.errors import LakeError


@group_command("verify")
def verify(group: Group) -> None:
    """Check the definition of done, stage by stage, and name what fails; exit code 1 if anything does."""
    from groundlake.transition.verification.verify import verify as verify_group

    checks = verify_group(group.evaluation, group.lake)
    print("\n".join(check_words(checks)))
    failed = sum(not each.passed for each in checks)
    if failed:
        raise LakeError(f"{failed} of {len(checks)} checks failed")


@group_command("sample")
def sample(
    group: Group,
    n: Annotated[int, typer.Option("--n", help="Rows.")] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Decides which rows; the same seed shows the same ones.")] = 1337,
    budget: Annotated[float | None, typer.Option("--budget", help="Only of this budget.")] = None,
    bin_index: Annotated[int | None, typer.Option("--bin", help="Only of this bin.")] = None,
    run_id: RunIdOption = None,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Show random answers raw, beside what counts as right and the score they got."""
    from groundlake.transition.standing import budgets_named
    from groundlake.transition.verification.sample import as_frame
    from groundlake.transition.verification.sample import sample as sample_group

    if run_id is not None:
        budgets_named(group.lake, group.exp_group_id, run_id)  # refuses one that is not there
    rows = sample_group(group.evaluation, group.lake, n=n, seed=seed, budget=budget, bin_index=bin_index, run_id=run_id)
    if form is Format.TABLE and output is None:
        print("\n".join(sample_words(rows)))
    else:
        print_rows(as_frame(rows), form, output)
