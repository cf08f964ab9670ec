"""What quantizing a network came to, and the run of kind `quantization` that says so. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from groundlake.measure.int8.settings import Int8Settings

KIND = "quantization"
TABLE = "quantizations"


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
        """Say in one line what it was made with, how much of it is int8, and what it costs."""
        prepared = f" prepared by {settings.preprocess}" if settings.preprocess else " as they are (0 to 255)"
        made = f"set {settings.calibration_set} ({self.num_calibration_samples:,} images{prepared}), {settings.engine}"
        share = f"{self.int8_time_share:.0%} of the time in int8 kernels".replace("%", " %")
        if self.accuracy_before is not None and self.accuracy_after is not None:
            cost = f"accuracy {self.accuracy_before:.3f} -> {self.accuracy_after:.3f}"
        elif self.relative_output_error is not None:
            cost = f"outputs off by {self.relative_output_error:.3g} (relative norm); accuracy not evaluated"
        else:
            cost = "accuracy not evaluated"
        return f"int8 with {made}; {share}; {cost}"


def quantization_run(attempt: Mapping[str, object], measured_run_id: str) -> dict[str, object]:
    """Return the ledger columns of the run of a quantization, from those of the run that timed its network."""
    left_out = {"config_hash": None, "warmup_runs": None, "theoretical_peak_flops": None}
    left_out |= {"theoretical_peak_source": None, "schema_version": None, "thermal_profile": None}
    return {**attempt, **left_out, "kind": KIND, "timing_method": "none", "parent_run_id": measured_run_id}
