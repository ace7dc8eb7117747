"""Every error that the engine raises on purpose.

    SweepsError
    +-- UserError          the user's to mend: one line, exit code 2
    |   +-- SpecError      something in the sweep file: file, key, rule
    +-- SweepFailed        the sweep ran and could not go on: one line, exit code 1

A trial's own exception is none of these: it becomes an `Outcome`.
"""


class SweepsError(Exception):
    """The base of all; never raised itself."""


class UserError(SweepsError):
    """A mistake of the user's; the message is one line that names the right answer."""


class SpecError(UserError):
    """A mistake in a sweep file.

    Attributes:
        file: The file as the user named it.
        key: The dotted path of the key, or "" for the file as a whole.
        rule: What is wrong and what would be right, in one line.
    """

    def __init__(self, file: str, key: str, rule: str) -> None:
        super().__init__(file, key, rule)
        self.file, self.key, self.rule = file, key, rule

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.file, self.key, self.rule) if part)
        # A key or value may hold a line break; the message is one line all the same.
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class SweepFailed(SweepsError):
    """The sweep ended before its budget; the message says why and where to look."""
