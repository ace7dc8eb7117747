"""The sampler tried out before a sweep: some mistakes show only when it is first asked."""

import warnings

from search_spaces import FloatParameter
from sweeps.samplers.algorithms import make_sampler
from sweeps.sweep_file.spec import SweepSpec


def check_sampler(spec: SweepSpec) -> None:
    """Makes the sampler and lets it suggest one trial of a study in memory.

    Raises:
        SpecError: As for `make_sampler`, or the sampler does not take the space or its own arguments.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = make_sampler(spec)
    directions = [objective.direction for objective in spec.objectives]
    if type(sampler).__name__ == "BruteForceSampler":  # which may meet it only in a later trial
        for site in spec.space.sites:
            if isinstance(site.content, FloatParameter) and site.content.step is None:
                raise spec.error(f"search_space.{site.name}", "sampler: brute_force needs a step for it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spec.space.suggest(optuna.create_study(directions=directions, sampler=sampler).ask())
    except Exception as error:  # noqa: BLE001 - whatever the sampler makes of its arguments
        reason = " ".join(str(error).split())
        raise spec.error("sampler", f"{type(sampler).__name__} cannot suggest a trial: {reason}") from None
