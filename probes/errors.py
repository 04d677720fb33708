"""The errors a user can meet. Each one repeats what was typed, says what is allowed, and names a
way out.
"""


class ProbesError(Exception):
    """Trouble in preparing (no data, bad weights, NaN): an ERROR, never evidence against a
    claim."""


class UnknownName(ProbesError):
    """A name that no registry knows; the message offers the nearest ones."""


class Unavailable(ProbesError):
    """Something known that is not on this machine. The message carries the command that brings it.
    A claim that needs it is skipped.
    """


class BadInput(ProbesError, ValueError):
    """A value outside what is allowed."""
