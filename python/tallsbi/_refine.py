"""Reference posteriors, models refined at observations, and checks there."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _tallsbi
from ._arrays import Array, checked_seed, cube, rows, text
from ._model import Model, Posterior, _sampling, _source
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


def _simulator(
    simulator: Callable[..., Any] | str,
    prior: Any,
    simulations: Simulations | None,
    task_options: dict[str, Any] | None,
    vectorized: bool | None,
    batch: int,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What the library is told of a built-in task, or of a function with the prior of its parameters."""
    if isinstance(simulator, str):
        settings = text(task_options or {})
        source = _source(simulations, Prior(_tallsbi.task_info(simulator, settings)[0]))
        return {**source, "task": simulator, "task_options": settings}, None
    own = as_prior(prior)
    with global_generators():
        runner = Runner(simulator, own.sample(6, seed), vectorized, seed)
    names = [f"x{i}" for i in range(runner.width)]
    call = lambda theta, seeds: runner.rows(theta, [int(one) for one in seeds])  # noqa: E731
    return _source(simulations, own), {"call": call, "names": names, "batch": int(batch)}


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
    network: bool | dict[str, Any] = True,
    **options: Any,
) -> Refined:
    """Simulates around the posterior of the observations x (n, d), learns the likelihood there and samples, until that settles.

    `simulator` is as for `simulate`; rounds may start from a `model` and from `simulations` made before. Options: per_round, rounds, budget,
    tolerance, samples, by ("scores": the law of the model's mean scores is learned, as it is with missing values anyway), and the
    others of `tallsbi refine`. Where local forms do not settle, a `network` is trained on all simulations, with the options of `train` that are
    given, and kept if it predicts others clearly better.
    """
    observed = rows(x, "observations")
    given = prior if prior is not None else getattr(model, "prior", None)
    source, native = _simulator(simulator, given, simulations, task_options, vectorized, batch, seed)
    earlier = None if simulations is None else (np.ascontiguousarray(simulations.theta), cube(simulations.x, "x"))
    base, told = getattr(model, "_native", None), resolve(progress)
    training = None if network is False else text({} if network is True else network)
    with global_generators():
        made, draws, reason, rounds, count = _tallsbi.refine(
            source, native, observed, base, earlier, text(options), training, checked_seed(seed), told
        )
    if reason:
        warnings.warn(f"the refinement has not settled: {reason}", stacklevel=2)
    refined = Model(made)
    return Refined(refined, Posterior(refined, observed), draws, reason is None, reason, json.loads(rounds), count)


@dataclass(frozen=True)
class PosteriorSbc:
    """`p_value` of all tests together; of each parameter, and of the `distance` from the posterior's mean, its own. `ranks` (m, pairs) of the parameters."""

    p_value: float
    p_values: dict[str, float]
    ranks: Array


def posterior_sbc(
    posterior: Posterior,
    simulator: Callable[..., Any] | str | None = None,
    *,
    pairs: int = 200,
    new: int | None = None,
    draws: int = 100,
    vectorized: bool | None = None,
    batch: int = DEFAULT_BATCH,
    seed: int = 0,
    progress: Progress | bool | None = None,
    task_options: dict[str, Any] | None = None,
    **sampling: Any,
) -> PosteriorSbc:
    """Is the posterior right at its observations? Draws `pairs` parameters from it, simulates `new` observations at each (as many as there are, by
    default), and asks whether the parameters rank uniformly among `draws` from the posterior given both. `simulator` is as for `simulate`; the
    built-in task that the model was trained on need not be named.

    >>> from tallsbi import observe, simulate, train
    >>> model = train(simulate("gaussian_linear", n=500), epochs=2, hidden=[16], members=1)
    >>> check = posterior_sbc(model.posterior(observe("gaussian_linear", n=5).x), pairs=20, draws=20)
    >>> check.ranks.shape, len(check.p_values)
    ((10, 20), 11)
    """
    model = posterior.model
    simulator = simulator or model.info["task"]
    if not simulator:
        raise ValueError("simulator: the model does not know its task; give the function, or the task's name")
    source, native = _simulator(simulator, model.prior, None, task_options, vectorized, batch, seed)
    options = {"pairs": int(pairs), "draws": int(draws), "new": None if new is None else int(new), "sampling": _sampling(model, draws, sampling)}
    with global_generators():
        found = json.loads(
            _tallsbi.posterior_sbc(
                model._native, source, native, posterior.x, text(options), checked_seed(seed), resolve(progress)
            )
        )
    tests = dict(zip([*model.names, "distance"], [*found["parameters"], found["distance"]], strict=True))
    p_values = {name: test["ecdf"]["p_value"] for name, test in tests.items()}
    return PosteriorSbc(found["p_value"], p_values, np.array([test["ranks"] for test in found["parameters"]]))
