"""Simulating: built-in tasks, and any Python function."""

from __future__ import annotations

import contextlib
import inspect
import multiprocessing
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np

from . import _tallsbi
from ._arrays import Array, checked_seed, text
from ._prior import Prior, as_prior
from ._progress import Progress, resolve

DEFAULT_BATCH = 1000
"""Rows of a call of a simulator that takes batches, and of a piece of work of a process."""


class Simulations(tuple[Array, Array]):
    """θ (N, m) and x (N, d) or (N, K, d), which also unpack: `theta, x = tallsbi.simulate(..)`. Rows that failed are NaN in x."""

    prior: Prior
    task: str
    task_options: dict[str, Any]
    observation_names: list[str]
    conditions: int
    x_transform: str
    first_error: str | None

    @property
    def theta(self) -> Array:
        """Parameters (N, m)."""
        return self[0]

    @property
    def x(self) -> Array:
        """Observations (N, d), or (N, K, d) of K each; the first `conditions` values of each are those that it was made under."""
        return self[1]

    @property
    def failed(self) -> int:
        """Rows whose simulation failed."""
        finite = np.isfinite(self.x.reshape(len(self.x), -1))
        # Row by row takes several times as long.
        return 0 if finite.all() else int((~finite.all(axis=1)).sum())


def _simulations(theta: Array, x: Array, prior: Prior) -> Simulations:
    made = Simulations((theta, x))
    made.prior, made.task, made.task_options, made.conditions = prior, "", {}, 0
    made.observation_names, made.x_transform, made.first_error = [], "identity", None
    return made


class Runner:
    """Calls a Python simulator on batches. A row that raises is NaN, and the first exception is kept."""

    def __init__(self, simulator: Callable[..., Any], probe: Array, vectorized: bool | None, seed: int) -> None:
        self.simulator = simulator
        self.takes_rng = _takes_rng(simulator)
        self.first_error: str | None = None
        self.vectorized, self.width = True, 0
        self._detect(probe, vectorized, seed)

    def _call(self, theta: Array, seed: Any) -> Array:
        _seed_globals(seed)
        arguments: tuple[Any, ...] = (theta, np.random.default_rng(seed)) if self.takes_rng else (theta,)
        out = self.simulator(*arguments)
        if hasattr(out, "detach"):
            out = out.detach().cpu()
        return np.asarray(out, dtype=np.float64)

    def _try(self, theta: Array, seed: Any) -> Array | None:
        try:
            return self._call(theta, seed)
        except Exception as error:
            self.first_error = self.first_error or f"{type(error).__name__}: {error}"
            return None

    def _detect(self, probe: Array, vectorized: bool | None, seed: int) -> None:
        """Finds out d, and whether the simulator takes batches: where rows work too, only if both certainly give the same."""
        single = [self._try(row, (seed, i)) for i, row in enumerate(probe)] if vectorized is not True else []
        rows = [out for out in single if out is not None and out.ndim <= 1]
        batch = None
        if vectorized is not False:
            widths = {probe.shape[1], *(out.size for out in rows)}
            count = next(count for count in range(2, 7) if count not in widths)
            batch = self._try(probe[:count], (seed, 0))
            if batch is not None and batch.ndim == 1 and len(batch) == count and (vectorized or not rows):
                batch = batch[:, None]
            if batch is not None and (batch.ndim != 2 or len(batch) != count):
                batch = None
        if rows and batch is not None and vectorized is None:
            again = [self._try(row, (seed, i + 1000)) for i, row in enumerate(probe[: len(batch)])]
            same = len(rows) == len(single) and all(
                out is not None and np.array_equal(out, one, equal_nan=True) and np.allclose(one, row, equal_nan=True)
                for out, one, row in zip(again, rows, batch, strict=False)
            )
            batch = batch if same else None
        if batch is not None:
            self.vectorized, self.width, self.first_error = True, batch.shape[1], None
        elif rows:
            self.vectorized, self.width, self.first_error = False, int(np.atleast_1d(rows[0]).size), None
        else:
            reason = self.first_error or "it gives neither (d) of one row nor (b, d) of b rows"
            raise ValueError(f"simulator: cannot be called with parameters of the prior: {reason}")

    def rows(self, theta: Array, seeds: Sequence[Any]) -> Array:
        """x (b, d) of θ (b, m); `seeds` has one of each row."""
        if self.vectorized:
            out = self._try(theta, seeds[0])
            if out is not None:
                out = out[:, None] if out.ndim == 1 else out
                if out.shape != (len(theta), self.width):
                    raise ValueError(f"simulator: gave {out.shape} for {len(theta)} rows of {self.width} values")
                return np.ascontiguousarray(out)
            if len(theta) > 1:  # Find the rows that fail.
                return np.concatenate([self.rows(theta[i : i + 1], seeds[i : i + 1]) for i in range(len(theta))])
            return np.full((1, self.width), np.nan)
        x = np.full((len(theta), self.width), np.nan)
        for i, row in enumerate(theta):
            out = self._try(row, seeds[i])
            if out is not None:
                if out.size != self.width:
                    raise ValueError(f"simulator: gave {out.size} values for a row, {self.width} for others")
                x[i] = out.reshape(-1)
        return x

    def repeats_itself(self, theta: Array) -> bool:
        """Whether the same seed gives the same numbers: not so with a random generator of the simulator's own."""
        theta = theta[:3]
        one, two = (self.rows(theta, [(0, i) for i in range(len(theta))]) for _ in range(2))
        return bool(np.array_equal(one, two, equal_nan=True))


class _Seeds(Sequence[tuple[int, int]]):
    """The seed of each row, (seed, number of the row), made where it is asked for: a call with a batch needs the first alone."""

    def __init__(self, seed: int, numbers: range) -> None:
        self.seed, self.numbers = seed, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, index: slice) -> _Seeds: ...
    def __getitem__(self, index: int | slice) -> tuple[int, int] | _Seeds:
        if isinstance(index, slice):
            return _Seeds(self.seed, self.numbers[index])
        return self.seed, self.numbers[index]


def _takes_rng(simulator: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(simulator).parameters.values()
    except (TypeError, ValueError):
        return False
    named = any(p.name == "rng" for p in parameters)
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return named or len(needed) == 2


def _seed_globals(seed: Any) -> None:
    """Global generators, which simulators of people's own use, are given the row's seed too."""
    word = int(np.random.SeedSequence(seed).generate_state(1)[0])
    np.random.seed(word)
    random.seed(word)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(word)


@contextlib.contextmanager
def global_generators() -> Iterator[None]:
    """Leaves the global generators as they were."""
    state, own = np.random.get_state(), random.getstate()
    torch = sys.modules.get("torch")
    theirs = torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        np.random.set_state(state)
        random.setstate(own)
        if torch and theirs is not None:
            torch.set_rng_state(theirs)


_work: tuple[Runner, Array, int, int] | None = None


def _piece(start: int) -> tuple[int, Array, str | None]:
    assert _work is not None
    runner, theta, batch, seed = _work
    part = theta[start : start + batch]
    runner.first_error = None
    x = runner.rows(part, _Seeds(seed, range(start, start + len(part))))
    return start, x, runner.first_error


def _pieces(starts: range, workers: int) -> Iterator[tuple[int, Array, str | None]]:
    if workers <= 1 or len(starts) <= 1:
        yield from map(_piece, starts)
        return
    if "fork" not in multiprocessing.get_all_start_methods():
        raise ValueError("workers: more than 1 needs a system that can fork; use workers=1 and batches")
    with warnings.catch_warnings():
        # Children run the simulator only, and touch no thread of ours.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Ctrl-C is for this process, which ends the others.
        ignore = (signal.signal, (signal.SIGINT, signal.SIG_IGN))
        pool = multiprocessing.get_context("fork").Pool(min(workers, len(starts)), *ignore)
    with pool:
        yield from pool.imap(_piece, starts)


def simulate(
    simulator: Callable[..., Any] | str,
    prior: Any = None,
    n: int = 10_000,
    *,
    conditions: Any = None,
    n_obs: int = 1,
    workers: int = 1,
    batch: int | None = None,
    vectorized: bool | None = None,
    seed: int = 0,
    progress: Progress | bool | None = None,
    task_options: dict[str, Any] | None = None,
) -> Simulations:
    """Draws `n` parameters from the prior and simulates `n_obs` observations of each.

    `simulator` is a function of θ, or of θ and a `numpy.random.Generator`, or the name of a built-in task or the path of
    a model file (`model.toml`), which bring their prior.
    It may take one row (m) and give (d), or a batch (b, m) and give (b, d): that is tried, and where it is not certain rows are taken;
    `vectorized=True` says that it takes batches. With `conditions`, a prior of known quantities of each observation (stimuli, doses, times), θ has
    them behind its m columns, and x has them first. A row for which it raises is NaN, and counted in one warning. `workers` processes give what one gives.

    >>> import numpy as np
    >>> from tallsbi import Normal
    >>> def simulator(theta, rng):
    ...     return rng.normal(theta[0], 1.0, 3)
    >>> theta, x = simulate(simulator, Prior({"mean": Normal(0.0, 2.0)}), 100)
    >>> theta.shape, x.shape
    ((100, 1), (100, 3))
    >>> theta, x = simulate("slcp", n=50)
    >>> x.shape
    (50, 8)
    """
    seed, told = checked_seed(seed), resolve(progress)
    if n < 1 or n_obs < 1 or workers < 1 or (batch is not None and batch < 1):
        raise ValueError("n, n_obs, workers and batch must be at least 1")
    if isinstance(simulator, str):
        if conditions is not None:
            raise ValueError('conditions: a task has its own; others are named with task_options={"condition": ["name"]}')
        return _simulate_task(simulator, prior, n, n_obs, seed, told, task_options or {})
    if prior is None or task_options:
        raise ValueError("prior: give the prior of the simulator's parameters (task_options are for built-in tasks)")
    prior = as_prior(prior)
    theta = prior.sample(n, seed)
    full, probe, count = np.repeat(theta, n_obs, axis=0) if n_obs > 1 else theta, prior.sample(6, seed), 0
    if conditions is not None:
        known = as_prior(conditions)
        if both := set(known.names) & set(prior.names):
            raise ValueError(f"conditions: {', '.join(sorted(both))} is a parameter too")
        # A stream of their own, beside that of the parameters.
        drawn, count = known.sample(len(full), (seed + 1) % 2**64), len(known)
        full, probe = np.hstack([full, drawn]), np.hstack([probe, drawn[np.arange(6) % len(drawn)]])
    with global_generators():
        runner = Runner(simulator, probe, vectorized, seed)
        if workers > 1 and not runner.repeats_itself(full):
            raise ValueError(
                "workers: the simulator has random numbers of its own, which all processes would repeat; "
                "let it take (theta, rng) and draw from rng, or use workers=1"
            )
        x, error = run_batches(runner, full, batch or DEFAULT_BATCH, workers, seed, told)
    if count:
        x = np.hstack([full[:, len(prior) :], x])
    made = _simulations(theta, x.reshape(n, n_obs, -1) if n_obs > 1 else x, prior)
    made.first_error, made.conditions = error, count
    if made.failed:
        reason = f"; the first: {error}" if error else ""
        warnings.warn(f"{made.failed} of {n} simulations failed or are not finite{reason}", stacklevel=2)
    return made


def run_batches(
    runner: Runner, theta: Array, batch: int, workers: int, seed: int, told: Progress | None
) -> tuple[Array, str | None]:
    """x (N, d) of θ (N, m), and the first exception if any."""
    global _work
    x, first_error = np.empty((len(theta), runner.width)), None
    _work = (runner, theta, batch, seed)
    try:
        for start, part, error in _pieces(range(0, len(theta), batch), workers):
            x[start : start + len(part)] = part
            first_error = first_error or error
            if told is not None:
                told("simulate", "rows", start + len(part), len(theta), "")
    finally:
        _work = None
    return x, first_error


def _simulate_task(
    name: str, prior: Any, n: int, n_obs: int, seed: int, told: Progress | None, options: dict[str, Any]
) -> Simulations:
    settings = text(options)
    own, names, transform, conditions = _tallsbi.task_info(name, settings)
    if prior is not None and as_prior(prior) != Prior(own):
        raise ValueError(f"prior: task {name} has its own; leave it out")
    theta, x, error = _tallsbi.simulate_task(name, settings, n, n_obs, seed, told)
    made = _simulations(theta, x if n_obs > 1 else x[:, 0], Prior(own))
    made.task, made.task_options, made.observation_names, made.x_transform = name, options, names, transform
    made.first_error, made.conditions = error, conditions
    if error:
        warnings.warn(f"{made.failed} of {n} simulations failed or are not finite; for example {error}", stacklevel=3)
    return made


def tasks() -> list[str]:
    """Names of the built-in tasks."""
    return _tallsbi.tasks()


def observe(
    task: str, theta: Any = None, n: int = 1, seed: int = 0, *, task_options: dict[str, Any] | None = None
) -> Simulations:
    """`n` observations of a built-in task at `theta` (m), or at a draw from the prior: (θ (m), x (n, d)).

    >>> theta, x = observe("slcp", n=5)
    >>> theta.shape, x.shape
    ((5,), (5, 8))
    """
    settings = text(task_options or {})
    given = None if theta is None else [float(value) for value in np.asarray(theta).reshape(-1)]
    at, x = _tallsbi.observe(task, settings, given, n, checked_seed(seed), None)
    own, names, transform, conditions = _tallsbi.task_info(task, settings)
    made = _simulations(np.asarray(at), x, Prior(own))
    made.conditions = conditions
    made.task, made.task_options, made.observation_names, made.x_transform = task, task_options or {}, names, transform
    return made
