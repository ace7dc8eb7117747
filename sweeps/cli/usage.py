"""Mistakes on the command line itself, in one line: an unknown option or command, a wrong value."""

import difflib
import re
from typing import Any


def usage_problem(error: Any) -> str:
    """What is wrong, where, and the nearest right answer.

    Args:
        error: A usage error of typer's.
    """
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text.replace("Input should be a valid integer", "must be a whole number")
    text = text.replace("Input should be a valid", "must be a")
    text = text.replace("Value error, ", "").partition(", unable to parse")[0]
    text, _, _ = text.partition(" (Possible option")
    if " is not one of " in text:
        text += _near(*re.findall(r"'(\S*)'", text.partition(": ")[2]))
    context = error.ctx
    if context is None:
        return text
    if (option := getattr(error, "option_name", "")) and text.startswith("No such option"):
        text += _near(option, *(name for param in context.command.params for name in param.opts))
    hint = f"; `{context.command_path} --help` shows what there is"
    return text if "id you mean" in text else text + hint


def _near(word: str, *known: str) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {near[0]}?" if near else ""
