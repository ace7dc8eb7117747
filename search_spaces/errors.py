"""The one exception of `search_spaces`: a user's mistake, told in one line.

Every other module here raises it; whoever reads the sweep file puts the file's name in front.
"""


class SpaceError(ValueError):
    """A search space, or a value for one, breaks a rule.

    Attributes:
        key: Dotted path of the offending part, relative to what was given; may be empty.
        rule: What must hold and what was found, in one line, without the key.
    """

    def __init__(self, key: str, rule: str) -> None:
        # Both go to `args`, so that the exception survives pickling between processes.
        super().__init__(key, rule)
        self.key = key
        self.rule = rule

    def __str__(self) -> str:
        text = f"{self.key}: {self.rule}" if self.key else self.rule
        # A quoted YAML key may hold a line break; the message stays one line.
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)

    def under(self, prefix: str) -> "SpaceError":
        """Return the same mistake seen from one level further out.

        Args:
            prefix: Dotted path of the part that `key` is relative to.
        """
        return SpaceError(".".join(part for part in (prefix, self.key) if part), self.rule)
