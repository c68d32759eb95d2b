"""What a fitted model predicts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _tallsbi
from ._arrays import Array, checked_seed, rows, text
from ._progress import Progress, resolve
from ._simulate import DEFAULT_BATCH, Runner, global_generators, run_batches

PREDICTION = 1
"""Which streams of a seed predictions have, beside those of `simulate`."""


def predict(
    simulator: Callable[..., Any] | str,
    theta: Any,
    n: int = 1,
    *,
    conditions: Any = None,
    vectorized: bool | None = None,
    batch: int = DEFAULT_BATCH,
    task_options: dict[str, Any] | None = None,
    seed: int = 0,
    progress: Progress | bool | None = None,
) -> Array:
    """`n` observations (S, n, d) at each row of θ (S, m), by a `simulator` as for `simulate`: posterior predictive at samples of a posterior, prior predictive
    at draws of the prior. Rows of which a simulation failed are NaN. With `conditions` (n, c) observation k is made under the k-th of them, and has it first.

    >>> from tallsbi import observe
    >>> theta, x = observe("slcp", n=5)
    >>> predict("slcp", [theta, theta], 3).shape
    (2, 3, 8)
    >>> predict(lambda theta, rng: rng.normal(theta, 1.0), [[0.0], [9.0]], 4).shape
    (2, 4, 1)
    """
    own, seed, told = np.atleast_2d(np.asarray(theta, dtype=np.float64)), checked_seed(seed), resolve(progress)
    known = None if conditions is None else rows(conditions, "conditions")
    if known is not None and len(known) != int(n):
        raise ValueError(f"conditions: expected {int(n)} rows, one for each observation, found {len(known)}")
    if isinstance(simulator, str):
        return _tallsbi.predict(simulator, text(task_options or {}), own, int(n), known, seed, told)
    if task_options:
        raise ValueError("task_options: are for built-in tasks; a function has its own")
    if int(n) < 1 or not len(own):
        raise ValueError("n: give at least one row of theta and n of at least 1")
    full = np.repeat(own, int(n), axis=0)
    if known is not None:
        full = np.hstack([full, np.tile(known, (len(own), 1))])
    stream = int(np.random.SeedSequence((seed, PREDICTION)).generate_state(1, np.uint64)[0])
    with global_generators():
        runner = Runner(simulator, full[np.arange(6) % len(full)], vectorized, stream)
        x, error = run_batches(runner, full, int(batch), 1, stream, told)
    x = np.hstack([full[:, own.shape[1] :], x]).reshape(len(own), int(n), -1)
    failed = ~np.isfinite(x).all(axis=(1, 2))
    if failed.any():
        reason = f"; the first: {error}" if error else ""
        warnings.warn(f"{failed.sum()} of {len(own)} predictions failed or are not finite{reason}", stacklevel=2)
        x[failed] = np.nan
    return np.asarray(x)
