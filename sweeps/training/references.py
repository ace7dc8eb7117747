"""References in a configuration, `${width}`, of a project whose parser reads its files with OmegaConf.

Only such a project has OmegaConf, so it is imported when it is asked for.
"""

import argparse
from collections.abc import Mapping
from typing import Any


def filled_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with OmegaConf's references to its other keys and to the environment replaced.

    Raises:
        argparse.ArgumentError: One refers to nothing.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        filled: Any = OmegaConf.to_container(OmegaConf.create(dict(config)), resolve=True)
    except OmegaConfBaseException as error:
        what = f'Parser key "{error.full_key}":\n  {str(error).splitlines()[0]}'
        raise argparse.ArgumentError(None, what) from None
    made: dict[str, Any] = filled
    return made
