"""Power of NVIDIA GPUs through NVML (package nvidia-ml-py, module pynvml)."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from groundlake import machine
from groundlake.errors import NoSensorError
from groundlake.power.sampler import AVERAGE_1S, AVERAGE_UNKNOWN, COUNTER, INSTANT, Rail, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MILLI = 1e-3
SOURCE = "nvml"

_GA100 = re.compile(r"\b(A100X?|A800|A30X?)\b")
"""Boards with the GA100 chip, whose nvmlDeviceGetPowerUsage is not averaged although they are Ampere (nvml.h)."""


class NvmlSampler:
    """All GPUs that NVML lists: board power, energy counter and temperature of each.

    Power is the field NVML_FI_DEV_POWER_INSTANT where the driver has it, else `nvmlDeviceGetPowerUsage`, which on
    Ampere and later, GA100 excepted, is an average of one second.

    Raises:
        NoSensorError: There is no driver, no GPU, or none that tells its power or energy.
    """

    def __init__(self, root: Path = machine.ROOT) -> None:
        self._session = ExitStack()
        self._nvml, why = self._session.enter_context(machine.nvml(root))
        if self._nvml is None:
            raise NoSensorError(why)
        handles = [
            self._ask("nvmlDeviceGetHandleByIndex", index) for index in range(self._ask("nvmlDeviceGetCount") or 0)
        ]
        found = [(index, handle) for index, handle in enumerate(handles) if handle is not None]
        # How a GPU is read is settled here: a read that fails is a gap, and never a reading of another meaning.
        self._has_field: dict[int | None, bool] = {
            index: self._instant_mw(handle) is not None for index, handle in found
        }
        self._gpus = [(handle, rail) for index, handle in found if (rail := self._rail(index, handle)) is not None]
        told = {rail.device_index for _, rail in self._gpus}
        self.notes = [f"GPU {index} tells neither power nor energy" for index, _ in found if index not in told]
        if not self._gpus:
            self._session.close()
            raise NoSensorError("no GPU that NVML lists tells its power or energy" if found else "NVML lists no GPU")

    @property
    def rails(self) -> list[Rail]:
        """One rail for each GPU: the whole board."""
        return [rail for _, rail in self._gpus]

    def read(self) -> Iterator[Reading]:
        """Read every GPU, one by one; one that has fallen off the bus is left out.

        Raises:
            OSError: No GPU answers.
        """
        answered = False
        for handle, rail in self._gpus:
            reading = self._reading(handle, rail)
            if reading is not None:
                answered = True
                yield reading
        if not answered:
            raise OSError("NVML: no GPU answers")

    def close(self) -> None:
        """End the session with the driver."""
        self._session.close()

    def _reading(self, handle: Any, rail: Rail) -> Reading | None:  # noqa: ANN401 - a handle of pynvml
        power_mw = None
        if self._has_field[rail.device_index]:
            power_mw = self._instant_mw(handle)
        elif rail.semantics != COUNTER:
            power_mw = self._ask("nvmlDeviceGetPowerUsage", handle)
        energy_mj = self._ask("nvmlDeviceGetTotalEnergyConsumption", handle)
        if power_mw is None and energy_mj is None:
            return None
        temperature_c = self._ask("nvmlDeviceGetTemperature", handle, self._nvml.NVML_TEMPERATURE_GPU)
        return Reading(
            rail=rail,
            power_w=None if power_mw is None else power_mw * MILLI,
            energy_counter_j=None if energy_mj is None else energy_mj * MILLI,
            temperature_c=None if temperature_c is None else float(temperature_c),
        )

    def _rail(self, index: int, handle: Any) -> Rail | None:  # noqa: ANN401 - the same
        """Describe a GPU by what its driver answers; None where it tells neither power nor energy."""
        if self._has_field[index]:
            semantics = INSTANT
        elif self._ask("nvmlDeviceGetPowerUsage", handle) is not None:
            semantics = self._meaning_of_power_usage(handle)
        elif self._ask("nvmlDeviceGetTotalEnergyConsumption", handle) is not None:
            semantics = COUNTER
        else:
            return None
        uuid = self._ask("nvmlDeviceGetUUID", handle)
        return Rail(source=SOURCE, name="gpu", semantics=semantics, device_index=index, device_uuid=uuid)

    def _meaning_of_power_usage(self, handle: Any) -> str:  # noqa: ANN401 - the same
        architecture = self._ask("nvmlDeviceGetArchitecture", handle)
        if architecture is None:
            return AVERAGE_UNKNOWN
        is_ga100 = _GA100.search(str(self._ask("nvmlDeviceGetName", handle) or "")) is not None
        return INSTANT if architecture < self._nvml.NVML_DEVICE_ARCH_AMPERE or is_ga100 else AVERAGE_1S

    def _instant_mw(self, handle: Any) -> int | None:  # noqa: ANN401 - the same
        field = getattr(self._nvml, "NVML_FI_DEV_POWER_INSTANT", None)
        answer = None if field is None else self._ask("nvmlDeviceGetFieldValues", handle, [field])
        if answer is None or answer[0].nvmlReturn != self._nvml.NVML_SUCCESS:
            return None
        return int(answer[0].value.uiVal)

    def _ask(self, call: str, *arguments: Any) -> Any:  # noqa: ANN401 - NVML answers with numbers, text and structs
        return machine.ask(self._nvml, call, *arguments)
