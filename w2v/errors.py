"""The errors a user can meet, and the exit code that each one means.

    W2VError             1  any other failure
    ├── ConfigError      2  usage or config
    ├── DownloadError    3  download or integrity
    ├── DataError        4  bad input data or file, unknown word
    ├── StorageError     5  filesystem, memory, lock
    ├── DivergedError    6  loss or tables became NaN or infinite
    ├── ResumeError      7  no checkpoint to go on from, or one of another run
    ├── PeerError        8  another of the processes that train together stopped
    └── StoppedError   128+ a signal ended training: 129, 130 or 143

The library raises; only `w2v.cli.main` turns an error into one line and an exit.
"""


class W2VError(Exception):
    """A failure explained to the user: what was found, what was expected, and what to do.

    Args:
        message: one line (a list of config problems may take one line each).
        hint: what the user can do about it, where there is something to do.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.is_told = False  # by another of the processes that train together


class ConfigError(W2VError):
    """The command line or the config asks for something that cannot be."""

    exit_code = 2


class DownloadError(W2VError):
    """A download failed, or what arrived is not what was published."""

    exit_code = 3


class DataError(W2VError):
    """A corpus, a vector file or a query cannot be used as it is."""

    exit_code = 4


class StorageError(W2VError):
    """The filesystem, the memory or a lock refused."""

    exit_code = 5


class DivergedError(W2VError):
    """Training left the finite numbers."""

    exit_code = 6


class ResumeError(W2VError):
    """There is no checkpoint that can be gone on from with this config."""

    exit_code = 7


class PeerError(W2VError):
    """Another of the processes that train together stopped, or did not come."""

    exit_code = 8


class StoppedError(W2VError):
    """A signal ended training, after all that was done had been saved."""

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal
