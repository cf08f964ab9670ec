"""Every error groundlake raises on purpose, and the exit code each one gives the command line.

    LakeError                      1  ran, and a check failed or part of the input was set aside
      ContractViolationError       1  a frame breaks its contract; nothing was written
      RunExistsError               1  a run is written once
      TraceError                   1  a model has no graph to cut and time
      UsageError                   2  wrong usage, configuration or SQL, an unknown name, a missing earlier step
        LakeNotFoundError          2  the root that should be read does not exist
        QueryError                 2  the SQL does not parse, bind or run
      MissingDependencyError       3  an extra, a device or a sensor is missing
        NoSensorError              3  a power sensor is not there, or may not be read
      CorruptLakeError             4  data in the lake is torn, missing or foreign
      LakeEnvironmentError         5  disk, permission, busy device, network

A message says what, where, what was got and what to do, in at most six lines.
"""

from __future__ import annotations

from typing import ClassVar

INTERRUPTED = 130
"""Exit code after Ctrl-C and a clean stop."""


class LakeError(Exception):
    """Base of every error that is shown to the user without a traceback."""

    exit_code: ClassVar[int] = 1


class ContractViolationError(LakeError):
    """A frame breaks its contract; the message lists every failing column and rule, and nothing was written."""


class RunExistsError(LakeError):
    """The given run id is in the ledger already: a run is written once."""


class TraceError(LakeError):
    """Neither way of tracing gives a graph of the model; the message says why for each."""


class UsageError(LakeError):
    """Wrong usage: an option, a configuration, an unknown name, or a step that has to come first."""

    exit_code: ClassVar[int] = 2


class LakeNotFoundError(UsageError):
    """The lake that should be read does not exist."""


class QueryError(UsageError):
    """The SQL does not parse, bind or run."""


class MissingDependencyError(LakeError):
    """An extra, a device or a sensor is missing; the message names what to install or connect."""

    exit_code: ClassVar[int] = 3


class NoSensorError(MissingDependencyError):
    """A power sensor is not there, or may not be read; the message says why, and how to change that."""


class CorruptLakeError(LakeError):
    """A part of the lake is torn, missing or foreign; the message names the file."""

    exit_code: ClassVar[int] = 4


class LakeEnvironmentError(LakeError):
    """Disk full, permission denied, device busy or network down."""

    exit_code: ClassVar[int] = 5
