"""What may vary in a sweep: the search space, apart from who searches it.

    sweep.yaml -- read_yaml --> plain values -- load_space --> SearchSpace
                                                                  | suggest(trial)
                                                                  v
                                     base configuration -- configure(base, params) --> a trial's configuration

The search space knows neither Optuna nor Lightning: a trial is anything with the three methods of
`parameters.Trial`, and a configuration is a mapping. A user's mistake is a `SpaceError`, one line long.
"""

from search_spaces.choices import Branch, Choice, Site, Slot
from search_spaces.constraints import Constraints
from search_spaces.documents import read_text, read_yaml
from search_spaces.errors import SpaceError
from search_spaces.grid import grid_of
from search_spaces.includes import catalog, included
from search_spaces.labels import Scalar
from search_spaces.loading import load_space
from search_spaces.parameters import CategoricalParameter, FloatParameter, IntParameter
from search_spaces.space import Params, SearchSpace
from search_spaces.starts import start_params

__all__ = [
    "Branch",
    "CategoricalParameter",
    "Choice",
    "Constraints",
    "FloatParameter",
    "IntParameter",
    "Params",
    "Scalar",
    "SearchSpace",
    "Site",
    "Slot",
    "SpaceError",
    "catalog",
    "grid_of",
    "included",
    "load_space",
    "read_text",
    "read_yaml",
    "start_params",
]
