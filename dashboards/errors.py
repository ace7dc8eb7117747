"""The one error that reading raises on purpose."""


class ResultsError(Exception):
    """Something the reader of a sweep can mend; the message is one line that says what and how."""
