"""The one error that a user of `dev.py` sees: what went wrong, got, expected, what to do."""

from __future__ import annotations


class DevError(Exception):
    """A mistake or mishap that the user can do something about; shown without a traceback."""

    def __init__(self, what: str, *, got: str, expected: str, fix: str) -> None:
        """Keeps the four parts.

        Args:
            what: One line that says what went wrong.
            got: What was found.
            expected: What was needed instead.
            fix: What the user can do now.
        """
        super().__init__(what)
        self.what = what
        self.got = got
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        """Returns the four parts, one a line, continuation lines indented under their label."""
        rows = (("got:", self.got), ("expected:", self.expected), ("what to do:", self.fix))
        return "\n".join([self.what, *(_row(label, text) for label, text in rows)])


def _row(label: str, text: str) -> str:
    head, *rest = text.splitlines() or [""]
    return "\n".join([f"  {label:<11} {head}", *(f"{'':14}{line}" for line in rest)])
