"""The shape that users of sbi know, over `tallsbi.train` and `Posterior.sample`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import Array, cube, rows
from ._model import Model, train
from ._prior import as_prior


class NLE:
    """Learns the likelihood. `prior` may be a distribution of torch.

    >>> import tallsbi
    >>> prior = tallsbi.Prior({"a": tallsbi.Normal(0, 1)})
    >>> theta, x = tallsbi.simulate(lambda theta, rng: rng.normal(theta, 1.0), prior, 300)
    >>> inference = NLE(prior)
    >>> _ = inference.append_simulations(theta, x).train(epochs=2, hidden=[8], members=1)
    >>> inference.build_posterior().sample((50,), x=x[:4]).shape
    (50, 1)
    """

    def __init__(self, prior: Any) -> None:
        self.prior, self._theta, self._x = as_prior(prior), [], []
        self._model: Model | None = None

    _theta: list[Array]
    _x: list[Array]

    def append_simulations(self, theta: Any, x: Any) -> NLE:
        """Adds rows θ (N, m) and x (N, d)."""
        self._theta.append(rows(theta, "theta", len(self.prior)))
        self._x.append(cube(x, "x"))
        return self

    def train(self, **options: Any) -> NLE:
        """Trains on all rows; options are those of `tallsbi.train`."""
        if not self._theta:
            raise ValueError("train: append_simulations first")
        self._model = train(np.concatenate(self._theta), np.concatenate(self._x), self.prior, **options)
        return self

    @property
    def model(self) -> Model:
        """The trained model."""
        if self._model is None:
            raise ValueError("build_posterior: train first")
        return self._model

    def build_posterior(self, density_estimator: NLE | None = None) -> DirectPosterior:
        """What is sampled from; `train` gives what may be handed over here."""
        return DirectPosterior((density_estimator or self).model)


class DirectPosterior:
    """Posteriors at observations that are given with each call, or before."""

    def __init__(self, model: Model) -> None:
        self.model, self._x = model, None

    _x: Any

    def set_default_x(self, x: Any) -> DirectPosterior:
        """The observations where a call gives none."""
        self._x = x
        return self

    def _at(self, x: Any) -> Any:
        if x is None and self._x is None:
            raise ValueError("x: give the observations, or set_default_x")
        return self.model.posterior(self._x if x is None else x)

    def sample(
        self, sample_shape: Any = (1000,), x: Any = None, *, seed: int = 0, show_progress_bars: bool | None = None
    ) -> Array:
        """Samples of shape sample_shape + (m,) given x (n, d), the same for the same `seed`."""
        shape = tuple(int(size) for size in sample_shape)
        drawn = self._at(x).sample(int(np.prod(shape, dtype=int)), seed=seed, progress=show_progress_bars)
        return drawn.reshape(*shape, -1)  # type: ignore[no-any-return]

    def sample_batched(
        self, sample_shape: Any, x: Any, *, seed: int = 0, show_progress_bars: bool | None = None
    ) -> Array:
        """Samples of shape sample_shape + (N, m) of the N posteriors given each x (N, d), or x (N, n, d) of n observations each."""
        shape = tuple(int(size) for size in sample_shape)
        count = int(np.prod(shape, dtype=int))
        drawn = self.model.draws(x, count, seed=seed, progress=show_progress_bars)
        return np.moveaxis(drawn, 1, 0).reshape(*shape, *drawn.shape[::2])

    def log_prob(self, theta: Any, x: Any = None) -> Array:
        """Log density at θ (N, m) given x."""
        return self._at(x).log_prob(theta)  # type: ignore[no-any-return]

    def map(self, x: Any = None) -> Array:
        """The θ of largest density given x."""
        return self._at(x).map()  # type: ignore[no-any-return]
