"""Every error that the engine raises on purpose.

    SweepsError
    +-- UserError          the user's to mend: one line, exit code 2
    |   +-- SpecError      something in the sweep file: file, key, rule
    |   +-- NothingLeft    to do for a resumption: exit code 0 where it asked for nothing
    |   +-- ServerAway     a database's or cluster's: exit code 75 for a resumption
    +-- SweepFailed        the sweep ran and could not go on: one line, exit code 1
        +-- TrialsFail     one after the other; those that run are to go on
        +-- CutShort       by what is around it, which may pass: exit code 75
            +-- ClusterLost    what it ran on has ended; its trials are to go on

A trial's own exception is none of these: it becomes an `Outcome`. So does `StoreAway`, as a lost attempt.
"""

LONGEST = 1000

TRY_AGAIN = 75
"""The exit code of what was cut short: EX_TEMPFAIL of sysexits.h."""


def one_line(text: str) -> str:
    """The text on one line that any terminal can show; the middle of a very long one is left out."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    if len(shown) <= LONGEST:
        return shown
    return f"{shown[: LONGEST * 3 // 4]} ... {shown[-LONGEST // 5 :]}"


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
        # A key or value may hold a line break, or be a book; the message is one line all the same.
        return one_line(": ".join(part for part in (self.file, self.key, self.rule) if part))


class NothingLeft(UserError):
    """A sweep that is to be resumed is at its end; the message says what asks for more."""


class ServerAway(UserError):
    """Nothing answers where a server was named; that may be a mistake, or pass."""


class SweepFailed(SweepsError):
    """The sweep ended before its budget; the message says why and where to look."""


class CutShort(SweepFailed):
    """The sweep was ended by what is around it; it goes on when it is resumed, maybe at once."""


class ClusterLost(CutShort):
    """The cluster that the sweep ran on has ended; when it is resumed, its trials go on where they were."""


class TrialsFail(SweepFailed):
    """Too many trials in a row failed at once; what ran beside them goes on when the sweep is resumed."""


class StoreAway(SweepsError):
    """In a worker: the store with a trial's checkpoint cannot be read; the trial has not failed."""
