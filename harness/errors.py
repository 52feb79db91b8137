"""The exceptions a user can meet, each one sentence: expected, found, where, what to do."""


class HarnessError(Exception):
    """A user's mistake or a broken environment; shown without a traceback."""


class ExpectedError(HarnessError, ValueError):
    """The file of expected accuracies is malformed or does not name what was asked for."""


class SplitError(HarnessError, ValueError):
    """The image set is missing, incomplete, or holds files that cannot be read."""


class WeightsError(HarnessError, OSError):
    """A model's weights are missing or are not the published ones."""


class EvaluationError(HarnessError, RuntimeError):
    """A model ran, but what it returned cannot be scored."""


class DeviceError(HarnessError, RuntimeError):
    """The device asked for is not there, or lacks room."""


class RanksError(HarnessError, RuntimeError):
    """The processes of one run do not come together: one is missing, hangs, or was started otherwise."""


class StoreError(HarnessError, OSError):
    """Decoded images cannot be kept or read where they should be."""


class ResultsError(HarnessError, OSError):
    """A run cannot be written where its results should go."""


class RecordError(HarnessError, ValueError):
    """What was given as an earlier run is none, or not one that can be read or compared."""
