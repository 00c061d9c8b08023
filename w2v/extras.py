"""The packages that only some commands need, asked for before any work is done."""

from importlib.util import find_spec

from w2v.errors import ConfigError


def require_extra(extra: str, *packages: str) -> None:
    """Checks, without importing them, that packages of an extra are installed.

    Raises:
        ConfigError: one is not; the hint is the command that installs it.
    """
    for package in packages:
        if not has_package(package):
            raise ConfigError(
                f"the package {package} is not installed, and this needs it",
                hint=f"pip install 'w2v[{extra}]'",
            )


def has_package(package: str) -> bool:
    """Whether a package can be imported here."""
    return find_spec(package) is not None
