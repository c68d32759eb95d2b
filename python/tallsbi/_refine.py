"""Reference posteriors, and models refined at observations."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _tallsbi
from ._arrays import Array, checked_seed, cube, rows, text
from ._model import Model, Posterior, _source
from ._prior import Prior, as_prior
from ._progress import Progress, resolve
from ._simulate import DEFAULT_BATCH, Runner, Simulations, global_generators


@dataclass(frozen=True)
class Reference:
    """Samples of an exact posterior, and whether to believe them."""

    samples: Array
    method: str
    rhat: float
    ess: float
    objection: str | None


def reference(
    task: str,
    x: Any,
    samples: int = 1000,
    *,
    seed: int = 0,
    progress: Progress | bool | None = None,
    task_options: dict[str, Any] | None = None,
) -> Reference:
    """Samples (S, m) of the posterior of a built-in task given x (n, d), by its likelihood."""
    settings = text({"draws": -(-int(samples) // 4)})
    drawn, method, rhat, ess, objection = _tallsbi.reference(
        task, text(task_options or {}), rows(x, "observations"), settings, checked_seed(seed), resolve(progress)
    )
    if objection:
        warnings.warn(objection, stacklevel=2)
    return Reference(drawn.reshape(-1, drawn.shape[-1])[: int(samples)], method, rhat, ess, objection)


@dataclass(frozen=True)
class Refined:
    """A model refined at observations: its posterior there, whether it has settled, and what it took."""

    model: Model
    posterior: Posterior
    samples: Array
    settled: bool
    reason: str | None
    rounds: list[dict[str, float]]
    simulations: int


def refine(
    simulator: Callable[..., Any] | str,
    x: Any,
    prior: Any = None,
    *,
    model: Model | None = None,
    simulations: Simulations | None = None,
    vectorized: bool | None = None,
    batch: int = DEFAULT_BATCH,
    seed: int = 0,
    progress: Progress | bool | None = None,
    task_options: dict[str, Any] | None = None,
    **options: Any,
) -> Refined:
    """Simulates around the posterior of the observations x (n, d), learns the likelihood there and samples, until that settles.

    `simulator` is as for `simulate`; rounds may start from a `model` and from `simulations` made before. Options: per_round, rounds, budget,
    tolerance, samples, and the others of `tallsbi refine`.
    """
    observed = rows(x, "observations")
    native = None
    if isinstance(simulator, str):
        own = Prior(_tallsbi.task_info(simulator, text(task_options or {}))[0])
    else:
        own = as_prior(prior if prior is not None else getattr(model, "prior", None))
        with global_generators():
            runner = Runner(simulator, own.sample(6, seed), vectorized, seed)
        names = [f"x{i}" for i in range(runner.width)]
        call = lambda theta, seeds: runner.rows(theta, [int(one) for one in seeds])  # noqa: E731
        native = {"call": call, "names": names, "batch": int(batch)}
    source = _source(simulations, own)
    if isinstance(simulator, str):
        source["task"], source["task_options"] = simulator, text(task_options or {})
    earlier = None if simulations is None else (np.ascontiguousarray(simulations.theta), cube(simulations.x, "x"))
    base, told = getattr(model, "_native", None), resolve(progress)
    with global_generators():
        made, draws, reason, rounds, count = _tallsbi.refine(
            source, native, observed, base, earlier, text(options), checked_seed(seed), told
        )
    if reason:
        warnings.warn(f"the refinement has not settled: {reason}", stacklevel=2)
    refined = Model(made)
    return Refined(refined, Posterior(refined, observed), draws, reason is None, reason, json.loads(rounds), count)
