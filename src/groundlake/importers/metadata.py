"""Failed attempts out of `calibration_metadata.json`: the only record of what was tried without a result."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groundlake.ground_truth.dates import parse_date
from groundlake.ground_truth.layouts import plain_name
from groundlake.ground_truth.reading import Problem, parse_json
from groundlake.ground_truth.wording import found_text, shown
from groundlake.importers.candidates import RUN_NAMESPACE, key_problem
from groundlake.importers.files import Found, read_bytes
from groundlake.importers.quarantine import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.importers.zones import Zones

LAYOUT = "calibration_metadata"
ERROR = "listed in calibration_metadata.json without a reason"

_ATTEMPT = re.compile(r"(?P<model>.+)@(?P<precision>[^@\s]+)@b(?P<batch>[1-9][0-9]{0,8})")


@dataclass(frozen=True)
class FailedAttempt:
    """A configuration that was tried on a device and gave no result."""

    run: dict[str, Any]

    @property
    def run_id(self) -> str:
        """Derived from device, configuration and start of the sweep."""
        return str(self.run["run_id"])

    @property
    def hardware_id(self) -> str:
        """Device: the folder that the metadata lies in."""
        return str(self.run["hardware_id"])


def read_attempts(found: Found, zones: Zones) -> Iterator[FailedAttempt | Entry]:
    """Read the failed attempts of one metadata file; malformed entries are set aside one by one."""
    raw, sha256, problem = read_bytes(found.path)
    data: Any = None
    if problem is None:
        data, problem = parse_json(raw)
    hardware_id = plain_name(found.path.parent.name)
    problem = problem or _problem(data, hardware_id)
    if problem is not None:
        yield Entry.of(found.uri, sha256, LAYOUT, problem)
        return
    started_at, zone_source = zones.to_utc(data["start_time"], hardware_id)
    info = data.get("hardware_info")
    facts = info if isinstance(info, dict) else {}
    for index, text in enumerate(data.get("errors") or []):
        parts = _ATTEMPT.fullmatch(text) if isinstance(text, str) else None
        problem = _problem_of_attempt(parts, text)
        if parts is None or problem is not None:
            where = f"{found.uri}#errors[{index}]"
            yield Entry.of(where, sha256, LAYOUT, problem or Problem("wrong_type", "", ""))
            continue
        precision, batch = parts["precision"].lower(), int(parts["batch"])
        key = [hardware_id, precision, parts["model"], batch, data["start_time"], "failed"]
        yield FailedAttempt(
            {
                "run_id": str(uuid.uuid5(RUN_NAMESPACE, json.dumps(key, separators=(",", ":")))),
                "hardware_id": hardware_id,
                "status": "failed",
                "kind": "efficiency",
                "precision": precision,
                "model": parts["model"],
                "batch": batch,
                "device": _text(facts.get("device_type")),
                "thermal_profile": _text(facts.get("power_mode")),
                "started_at": started_at,
                "started_at_zone_source": zone_source,
                "source_measurement_date": data["start_time"],
                "sources": [{"uri": found.uri, "sha256": sha256, "layout": LAYOUT}],
                "error": ERROR,
            }
        )


def _problem(data: object, hardware_id: str) -> Problem | None:
    if not isinstance(data, dict):
        return Problem("wrong_type", "", "the file holds no JSON object")
    start = data.get("start_time")
    if start is None:
        return Problem("missing_field", "start_time", "the key is missing: the sweep has no date")
    if not isinstance(start, str) or parse_date(start) is None:
        return Problem("wrong_type", "start_time", f"{found_text(start)} is not an ISO 8601 date and time")
    if not isinstance(data.get("errors") or [], list):
        return Problem("wrong_type", "errors", "not a list")
    wrong = key_problem("hardware_id", hardware_id)
    return Problem("bad_key", "", wrong) if wrong else None


def _problem_of_attempt(parts: re.Match[str] | None, text: object) -> Problem | None:
    if parts is None:
        return Problem("wrong_type", "", f"{found_text(text)} is not <model>@<precision>@b<batch>")
    for name in ("model", "precision"):
        wrong = key_problem(name, parts[name].lower() if name == "precision" else parts[name])
        if wrong is not None:
            return Problem("bad_key", name, wrong)
    return None


def _text(value: object) -> str | None:
    return shown(value) if isinstance(value, str) else None
