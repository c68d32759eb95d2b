"""Checks of posteriors on plain arrays, whoever drew them: tallsbi, sbi, BayesFlow, Stan.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> theta = rng.normal(size=(200, 2))
>>> draws = rng.normal(size=(200, 50, 2))            # of a posterior that is the prior, and right
>>> sbc(theta, draws).p_value > 0.01
True
>>> sbc(theta, 0.5 * draws).p_value < 0.01           # too narrow
True
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _tallsbi
from ._arrays import Array, checked_seed, cube, plain, rows, text
from ._progress import Progress, resolve


@dataclass(frozen=True)
class C2st:
    """`accuracy` of a classifier that tells two samples apart: 0.5 cannot, 1 always."""

    accuracy: float
    standard_error: float
    rows: int


@dataclass(frozen=True)
class Mmd:
    """Unbiased estimate of MMD², which may be negative, and the kernel's width."""

    squared: float
    bandwidth: float


@dataclass(frozen=True)
class SlicedWasserstein:
    """Distance `value` over random directions, with its error from them."""

    value: float
    standard_error: float
    projections: int


@dataclass(frozen=True)
class Sbc:
    """`p_value` of all parameters together; of each its own and its ranks (m, N). A shift of `visible_shift` sd would have been seen."""

    p_value: float
    p_values: Array
    ranks: Array
    visible_shift: float


@dataclass(frozen=True)
class Coverage:
    """Expected `coverage` at `levels`; `area_to_curve` is negative where posteriors are too narrow."""

    p_value: float
    levels: Array
    coverage: Array
    area_to_curve: float
    largest_deviation: float
    visible_shift: float


@dataclass(frozen=True)
class LocalC2st:
    """`statistic` of the test at the observations, those under the null, and its `p_value`."""

    statistic: float
    p_value: float
    null_statistics: Array
    probabilities: Array


@dataclass(frozen=True)
class PredictiveCheck:
    """A statistic ("mean", "sd", "minimum", "maximum") of one column, observed and predicted; `p_value` near 0 or 1 is not reproduced."""

    column: int
    statistic: str
    observed: float
    predicted: float
    sd: float
    p_value: float


def predictive_checks(x: Any, replications: Any) -> list[PredictiveCheck]:
    """Posterior predictive checks: statistics of the observations x (n, d) against those of replications (S, n, d), each simulated at one sample of the
    posterior by any simulator. Under the right model p-values concentrate at 1/2: the data were used to fit it."""
    observed = rows(x, "x")
    found = json.loads(_tallsbi.predictive_checks(observed, cube(replications, "replications")))
    return [PredictiveCheck(**check) for check in found]


def c2st(
    p: Any, q: Any, *, folds: int = 5, seeds: int = 1, seed: int = 0, progress: Progress | bool | None = None
) -> C2st:
    """How well a classifier tells samples q (M, d) from the reference p (N, d), as sbibm's c2st."""
    options = text({"folds": folds, "seeds": seeds})
    found = json.loads(_tallsbi.c2st(rows(p, "p"), rows(q, "q"), options, checked_seed(seed), resolve(progress)))
    return C2st(found["accuracy"], found["standard_error"], found["rows"])


def mmd(p: Any, q: Any, *, bandwidth: float | None = None, progress: Progress | bool | None = None) -> Mmd:
    """Unbiased MMD² of q from the reference p, whose median distance is the kernel's width unless given."""
    return Mmd(*_tallsbi.mmd(rows(p, "p"), rows(q, "q"), bandwidth, resolve(progress)))


def sliced_wasserstein(p: Any, q: Any, *, projections: int = 1000, seed: int = 0) -> SlicedWasserstein:
    """Sliced Wasserstein distance of p and q."""
    found = _tallsbi.sliced_wasserstein(rows(p, "p"), rows(q, "q"), int(projections), checked_seed(seed))
    return SlicedWasserstein(**json.loads(found))


def _draws(draws: Any, theta: Array) -> Array:
    array = plain(draws, "draws")
    return cube(array[:, :, None] if array.ndim == 2 and theta.shape[1] == 1 else array, "draws")


def sbc(
    theta: Any, draws: Any, *, bins: int = 20, seed: int = 0, progress: Progress | bool | None = None
) -> Sbc:
    """Simulation-based calibration: ranks of the true θ (N, m) among draws (N, L, m) of the posterior given their observations."""
    truth = rows(theta, "theta")
    found = json.loads(
        _tallsbi.sbc(truth, _draws(draws, truth), text({"bins": bins}), checked_seed(seed), resolve(progress))
    )
    tests = found["parameters"]
    values = np.array([test["ecdf"]["p_value"] for test in tests])
    return Sbc(found["p_value"], values, np.array([test["ranks"] for test in tests]), found["visible_shift"])


def coverage(theta: Any, draws: Any, *, seed: int = 0, progress: Progress | bool | None = None) -> Coverage:
    """Expected coverage (TARP) of the true θ (N, m) by regions of draws (N, L, m)."""
    truth = rows(theta, "theta")
    found = json.loads(_tallsbi.coverage(truth, _draws(draws, truth), "{}", checked_seed(seed), resolve(progress)))
    return Coverage(
        found["p_value"],
        np.array(found["levels"]),
        np.array(found["coverage"]),
        found["area_to_curve"],
        found["largest_deviation"],
        found["visible_shift"],
    )


def local_c2st(
    theta: Any,
    theta_q: Any,
    x: Any,
    x_obs: Any,
    posterior_samples: Any,
    *,
    trials: int = 100,
    ensemble: int = 1,
    seed: int = 0,
    progress: Progress | bool | None = None,
) -> LocalC2st:
    """ℓ-C2ST: is the posterior right at the observations x_obs (n, d)? Pairs θ (N, m), x (N, n, d) of the joint distribution, one draw θ_q (N, m)
    of the posterior of each x, and samples (S, m) of the one at x_obs."""
    pairs = plain(x, "x")
    flat = rows(pairs.reshape(len(pairs), -1), "x")
    observed = plain(x_obs, "x_obs").reshape(-1)
    arrays = (rows(theta, "theta"), rows(theta_q, "theta_q"), flat, observed, rows(posterior_samples, "posterior_samples"))
    options = text({"trials": trials, "ensemble": ensemble})
    found = json.loads(_tallsbi.local_c2st(*arrays, options, checked_seed(seed), resolve(progress)))
    return LocalC2st(
        found["statistic"], found["p_value"], np.array(found["null_statistics"]), np.array(found["probabilities"])
    )
