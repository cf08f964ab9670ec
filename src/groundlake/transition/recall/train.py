"""Trains the recall model from nothing, on one thread of a processor, in four to six minutes.

    python -m groundlake.transition.recall.train FOLDER [--steps N] [--seed N]

The same seed gives the same model on the same machine and versions; elsewhere, sums are rounded in another order, so
that weights differ and accuracies differ a little. Without all the steps the longest contexts are not mastered.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

from groundlake.errors import LakeError, UsageError
from groundlake.llm.facts import versions
from groundlake.llm.loading import import_transformers, quietly
from groundlake.transition.recall.curriculum import Course, look_ups
from groundlake.transition.recall.questions import RECORDS
from groundlake.transition.recall.tokenizer import BEGIN_ID, CONTEXT, END_ID, PAD_ID, VOCABULARY, make_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from groundlake.transition.recall.curriculum import Batch

STEPS = 2600
LEARNING_RATE = 2e-3
WARM_UP_STEPS = 100
CONSTANT_UNTIL, LAST_SHARE = 0.6, 0.02
"""The rate of learning stays until this share of the steps, and falls to this share of itself at the end."""
CLIP = 1.0
TESTED = 10
"""Batches of each length after training; up to 32 questions for each context."""
SAID_EVERY = 100


def make_model(seed: int) -> Any:  # noqa: ANN401 - transformers has no types
    """Return the untrained model: two layers, 452 thousand parameters."""
    import torch

    transformers = import_transformers()
    config = transformers.LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        initializer_range=0.07,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        bos_token_id=BEGIN_ID,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
    )
    torch.manual_seed(seed)
    return transformers.LlamaForCausalLM(config)


def train(*, steps: int = STEPS, seed: int = 0, say: Callable[[str], object] = lambda _: None) -> tuple[Any, Course]:
    """Train a model; return it, and the course with when each level was mastered.

    Uses one thread, which so small a model needs, and the random numbers of torch; both are as before afterwards.

    Args:
        steps: Batches.
        seed: Of the weights and of what it is shown.
        say: Takes a line about the progress.

    Raises:
        UsageError: No steps.
        MissingDependencyError: torch or transformers is not installed.
    """
    if steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}")
    import_transformers()
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with quietly(), torch.random.fork_rng(devices=[]):
            return _train(steps, seed, say)
    finally:
        torch.set_num_threads(threads)


def _train(steps: int, seed: int, say: Callable[[str], object]) -> tuple[Any, Course]:
    import torch

    model, course = make_model(seed), Course(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    for step in range(steps):
        loss, right = _answers(model, course.batch())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        course.note(step, loss.item(), right)
        if step % SAID_EVERY == 0 or step == steps - 1:
            mastered = course.passed[-1][0] if course.passed else "nothing"
            say(f"step {step}: loss {loss.item():.3f}, {right:.3f} right, mastered {mastered}, {process_time():.0f} s")
    return model.eval(), course


def _rate(step: int, steps: int) -> float:
    """Return the share of the rate of learning at a step."""
    constant = CONSTANT_UNTIL * steps
    down = max(0.0, (step - constant) / (steps - constant))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (1 - (1 - LAST_SHARE) * down)


def _answers(model: Any, batch: Batch) -> tuple[Any, float]:  # noqa: ANN401 - transformers has no types
    """Return the loss where the next token can be known, and the share of those that the model has right."""
    import torch

    ids, known = torch.from_numpy(batch.ids), torch.from_numpy(batch.known)
    states = model.model(input_ids=ids[:, :-1]).last_hidden_state[known]
    logits, wanted = model.lm_head(states), ids[:, 1:][known]
    loss = torch.nn.functional.cross_entropy(logits, wanted)
    return loss, (logits.argmax(-1) == wanted).float().mean().item()


def accuracies(model: Any, seed: int) -> dict[str, float]:  # noqa: ANN401 - transformers has no types
    """Return the share of right tokens in answers over the whole cache, for each number of records."""
    import numpy as np
    import torch

    found = {}
    with torch.inference_mode():
        for records in RECORDS:
            random = np.random.default_rng([seed, records])
            right = [_answers(model, look_ups(random, records))[1] for _ in range(TESTED)]
            found[str(records)] = round(float(np.mean(right)), 4)
    return found


def save(model: Any, course: Course, folder: Path, *, steps: int, seed: int) -> None:  # noqa: ANN401 - as above
    """Write the model, its tokenizer and how it came about, readable for whoever may read the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with quietly():
        model.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
    made = {
        "steps": steps,
        "seed": seed,
        "mastered_at_step": course.summary(),
        "right_tokens": accuracies(model, seed + 1),
        "cpu_s": round(process_time()),
        "versions": versions(),
    }
    (folder / "training.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)


def _main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m groundlake.transition.recall.train", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the model goes")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"batches (default: {STEPS})")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        model, course = train(steps=given.steps, seed=given.seed, say=lambda line: sys.stderr.write(line + "\n"))
        save(model, course, given.folder, steps=given.steps, seed=given.seed)
    except LakeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{given.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
