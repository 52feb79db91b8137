"""The exceptions shown to users; each message says what was expected, what was found, where, and what to do."""


def printable(text: str) -> str:
    """Return a text without what a terminal would interpret, such as escape sequences in file names."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


class HarnessError(Exception):
    """A user's mistake or a broken environment; shown without a traceback."""

    def __str__(self) -> str:
        text = printable(super().__str__())
        return text if len(text) < 2000 else f"{text[:1000]} ... {text[-900:]}"  # it may quote a damaged file


class ExpectedError(HarnessError, ValueError):
    """The file of expected accuracies is malformed or does not name what was asked for."""


class DatasetError(HarnessError, ValueError):
    """The dataset is missing, incomplete, or holds files that cannot be read."""


class WeightsError(HarnessError, OSError):
    """A model's weights are missing or are not the published ones."""


class EvaluationError(HarnessError, RuntimeError):
    """A model ran, but its output cannot be scored."""


class DeviceError(HarnessError, RuntimeError):
    """The requested device does not exist, or lacks memory."""


class RanksError(HarnessError, RuntimeError):
    """A rank of the run is missing, hangs, or was started differently."""


class StoreError(HarnessError, OSError):
    """Decoded images cannot be stored or read."""


class ResultsError(HarnessError, OSError):
    """A run cannot be written to its folder."""


class RecordError(HarnessError, ValueError):
    """A path given as an earlier run is not one, or cannot be read or compared."""
