"""The one tree of errors.

FirsthandError                 exit 1: it failed, and the message says what to do
|- UsageError                  exit 2: the command's words are wrong
|- IncompleteError             exit 3: completeness was required and is not there
|- ProbeError                  programs could not be brought into the kernel
|  |- NotSupportedError        this kernel or machine lacks what is needed
|  `- BusyError                another observer holds the instance
|- WireError                   bytes from the ring do not fit their layout
|- SchemaError                 a description of the events is missing or contradicts the lock
|- RedactionError              a redaction pattern cannot be used
|- RuntimeGoneError            a container runtime's socket does not answer
|- ExportError                 the record could not be handed on
`- HistoryError                the record cannot be written or read
   |- UnwritableError          its disk takes nothing now: full, read-only, failing
   `- DamagedError             a part of the record fails its checksum
"""


class FirsthandError(Exception):
    """Anything that Firsthand reports to its user: what was expected, found, where, and what to do."""

    exit_code = 1


class UsageError(FirsthandError):
    """The command line or a setting is wrong."""

    exit_code = 2


class IncompleteError(FirsthandError):
    """An answer was required to be complete and is not."""

    exit_code = 3


class ProbeError(FirsthandError):
    """A program or map could not be loaded, attached or pinned."""


class NotSupportedError(ProbeError):
    """The machine lacks what observing needs: root, BTF, a kernel feature."""


class BusyError(ProbeError):
    """Another observer already reads this instance's rings."""


class WireError(FirsthandError):
    """Bytes from the ring do not fit the layout that they name."""


class SchemaError(FirsthandError):
    """The description of the events is missing, unreadable or differs from the lock."""


class RedactionError(FirsthandError):
    """A redaction pattern is not linear-time, not bounded or not valid."""


class RuntimeGoneError(FirsthandError):
    """A container runtime's socket does not answer (any more)."""


class ExportError(FirsthandError):
    """The stream out cannot be written, or its receiver refuses it."""


class HistoryError(FirsthandError):
    """The history cannot be written or read."""


class UnwritableError(HistoryError):
    """The history's file system takes nothing now; what is to be written may be tried again."""


class DamagedError(HistoryError):
    """A chunk, segment or manifest entry fails its checksum."""
