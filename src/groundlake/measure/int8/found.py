"""What quantizing a network came to, and the run of kind `quantization` that says so. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import polars as pl

from groundlake.measure.doubts import Doubt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from groundlake.measure.int8.settings import Int8Settings

KIND = "quantization"
TABLE = "quantizations"

DESTROYED = 0.5
"""Relative error of the outputs from which a network counts as destroyed: the error is half as large as the output, as
if one bit of it were left (6 dB). Sound networks stay below a tenth of that."""


@dataclass(frozen=True, kw_only=True)
class Int8Found:
    """What quantizing a network came to.

    Attributes:
        backend: What quantized and runs it, with its version.
        num_calibration_samples: Images that it was calibrated with.
        int8_time_share: Share of the processor time of its operators spent in int8 kernels.
        int8_kernels: Names of those kernels.
        weights_before_bytes: What the network stored before.
        weights_after_bytes: What it stores now; None where an engine does not say.
        relative_output_error: How far its outputs are off, on calibration images; None where they cannot be compared.
        num_evaluated: Images that its accuracy is of; None where it was not evaluated, as for the next two.
        accuracy_before: Share of right answers before.
        accuracy_after: Share of right answers now.
        chance_accuracy: Share of right answers that chance alone may reach on these images.
    """

    backend: str
    num_calibration_samples: int
    int8_time_share: float
    int8_kernels: tuple[str, ...]
    weights_before_bytes: int | None
    weights_after_bytes: int | None
    relative_output_error: float | None
    num_evaluated: int | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    chance_accuracy: float | None = None

    @property
    def is_by_chance(self) -> bool:
        """Whether the network answers no better than chance in fp32: its accuracies then say nothing about int8."""
        before, chance = self.accuracy_before, self.chance_accuracy
        return before is not None and chance is not None and before <= chance

    @property
    def is_destroyed(self) -> bool:
        """Whether the outputs in int8 have little to do with those in fp32."""
        return self.relative_output_error is not None and self.relative_output_error >= DESTROYED

    def doubts(self) -> Iterator[Doubt]:
        """Say what the figures do not tell of themselves: that nothing could be lost, or that all was."""
        if self.is_by_chance:
            yield Doubt(
                code="accuracy_by_chance",
                meaning="in fp32 the network answers no better than by always naming the most frequent class: its"
                " weights are random, as those of the models by name are, or it expects images that are prepared"
                " otherwise",
                observed=f"accuracy {self.accuracy_before:.3f} before",
                threshold=f"{self.chance_accuracy:.3f}",
                advice="what int8 costs is not known: measure a trained model, with the preparation of its evaluation",
            )
        if self.is_destroyed:
            yield Doubt(
                code="outputs_destroyed",
                meaning="on calibration images the outputs in int8 have little to do with those in fp32",
                observed=f"off by {self.relative_output_error:.3g} (relative norm)",
                threshold=f"{DESTROYED:g}",
                advice="the times hold, the network is of no use: random weights may fade away towards the outputs, and"
                " trained ones may need another --int8-engine or layers that stay in fp32",
            )

    def row(self, settings: Int8Settings, measured_run_id: str) -> pl.DataFrame:
        """Return its row of `quantizations`, without the keys of the run.

        Args:
            settings: How the network was quantized.
            measured_run_id: Run that timed it.
        """
        is_evaluated = self.num_evaluated is not None
        facts = asdict(self) | {
            "int8_kernels": list(self.int8_kernels),
            "measured_run_id": measured_run_id,
            "calibration_set": settings.calibration_set,
            "calibration_batch_size": settings.batch_size,
            "set_fingerprint": settings.set_fingerprint,
            "engine": settings.engine,
            "preprocess": settings.preprocess,
            "preprocessing_fingerprint": settings.preprocessing_fingerprint,
            "evaluation_set": settings.evaluation_set if is_evaluated else None,
            "evaluation_run_id": settings.evaluation_run_id if is_evaluated else None,
            "evaluation_fingerprint": settings.preprocessing_fingerprint if is_evaluated else None,
        }
        return pl.DataFrame([facts], infer_schema_length=None)

    def in_words(self, settings: Int8Settings) -> str:
        """Say in one line what it was made with, how much of it is int8, and what it costs; no gain that is none."""
        prepared = f" prepared by {settings.preprocess}" if settings.preprocess else " as they are (0 to 255)"
        made = f"set {settings.calibration_set} ({self.num_calibration_samples:,} images{prepared}), {settings.engine}"
        share = f"{self.int8_time_share:.0%} of the time in int8 kernels".replace("%", " %")
        return "; ".join([f"int8 with {made}", share, *self._cost()])

    def _cost(self) -> Iterator[str]:
        is_evaluated = self.accuracy_before is not None and self.accuracy_after is not None
        if self.is_destroyed or not (is_evaluated or self.relative_output_error is None):
            yield f"outputs off by {self.relative_output_error:.3g} (relative norm)"
        if not is_evaluated:
            yield "accuracy not evaluated"
        elif self.is_by_chance:
            yield f"accuracy by chance ({self.accuracy_before:.3f} and {self.accuracy_after:.3f})"
        else:
            yield f"accuracy {self.accuracy_before:.3f} -> {self.accuracy_after:.3f}"


def quantization_run(attempt: Mapping[str, object], measured_run_id: str) -> dict[str, object]:
    """Return the ledger columns of the run of a quantization, from those of the run that timed its network."""
    left_out = {"config_hash": None, "warmup_runs": None, "theoretical_peak_flops": None}
    left_out |= {"theoretical_peak_source": None, "schema_version": None, "thermal_profile": None}
    return {**attempt, **left_out, "kind": KIND, "timing_method": "none", "parent_run_id": measured_run_id}
