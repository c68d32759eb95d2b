"""Priors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _tallsbi
from ._arrays import Array, checked_seed, rows


@dataclass(frozen=True)
class Uniform:
    """Uniform from `low` to `high`."""

    low: float
    high: float

    def _json(self, name: str) -> dict[str, Any]:
        return {"name": name, "dist": "uniform", "low": float(self.low), "high": float(self.high)}


@dataclass(frozen=True)
class Normal:
    """Normal of mean `loc` and standard deviation `scale`."""

    loc: float
    scale: float

    def _json(self, name: str) -> dict[str, Any]:
        return {"name": name, "dist": "normal", "loc": float(self.loc), "scale": float(self.scale)}


@dataclass(frozen=True)
class LogNormal:
    """The logarithm is normal of mean `loc` and standard deviation `scale`."""

    loc: float
    scale: float

    def _json(self, name: str) -> dict[str, Any]:
        return {"name": name, "dist": "lognormal", "loc": float(self.loc), "scale": float(self.scale)}


class MultivariateNormal:
    """Normal over several parameters; a prior by itself wherever one is taken."""

    def __init__(self, names: Sequence[str], loc: Any, covariance: Any) -> None:
        self.names = list(names)
        self.loc = np.asarray(loc, dtype=float).tolist()
        self.covariance = np.asarray(covariance, dtype=float).tolist()

    def _json(self, name: str = "") -> dict[str, Any]:
        return {"dist": "multivariate_normal", "names": self.names, "loc": self.loc, "covariance": self.covariance}


Distribution = Uniform | Normal | LogNormal | MultivariateNormal


class Prior:
    """What parameters are drawn from: independent distributions by name.

    >>> prior = Prior({"rate": LogNormal(0.0, 0.5), "shape": Uniform(1.0, 4.0)})
    >>> prior.names
    ['rate', 'shape']
    >>> prior.sample(3, seed=1).shape
    (3, 2)
    >>> round(float(prior.log_prob([[1.0, 2.0]])[0]), 4)
    -1.3244
    """

    def __init__(self, distributions: Mapping[str, Distribution] | MultivariateNormal | Sequence[Any] | str) -> None:
        if isinstance(distributions, str):
            text = distributions
        else:
            if isinstance(distributions, MultivariateNormal):
                components: list[Any] = [distributions._json()]
            elif isinstance(distributions, Mapping):
                components = [_component(name, one) for name, one in distributions.items()]
            else:
                components = [one._json() if isinstance(one, MultivariateNormal) else one for one in distributions]
            text = json.dumps(components)
        self._names, self._text = _tallsbi.prior_check(text)

    @property
    def names(self) -> list[str]:
        """Names of the parameters, in the order of columns."""
        return list(self._names)

    def to_json(self) -> str:
        """The JSON that files hold."""
        return self._text

    def sample(self, n: int, seed: int = 0) -> Array:
        """`n` draws (n, m), in single precision as files hold them: those that `tallsbi simulate --seed` makes."""
        return _tallsbi.prior_sample(self._text, int(n), checked_seed(seed))

    def log_prob(self, theta: Any) -> Array:
        """Log density of each row of `theta` (n, m)."""
        return _tallsbi.prior_log_prob(self._text, rows(theta, "theta", len(self._names)))

    def __len__(self) -> int:
        return len(self._names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prior) and json.loads(self._text) == json.loads(other._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[type[Prior], tuple[str]]:
        return Prior, (self._text,)

    def __repr__(self) -> str:
        return f"Prior({self._text})"


def _component(name: str, distribution: Any) -> dict[str, Any]:
    if not isinstance(distribution, Uniform | Normal | LogNormal | MultivariateNormal):
        kinds = "tallsbi.Uniform, Normal, LogNormal or MultivariateNormal"
        raise ValueError(f"prior of {name!r}: expected {kinds}, found {type(distribution).__name__}")
    return distribution._json(name)


def as_prior(prior: Any) -> Prior:
    """`prior` as a Prior."""
    return prior if isinstance(prior, Prior) else Prior(prior)


def torch_prior(distribution: Any, names: Sequence[str]) -> Prior:
    """The prior of torch.distributions, or a list of them: Uniform, Normal, LogNormal, MultivariateNormal, Independent of these, and sbi's
    BoxUniform (an Independent). Others are not there, and a ValueError says so."""
    ours: list[Any] = []
    left = list(names)
    for one in distribution if isinstance(distribution, list | tuple) else [distribution]:
        base = getattr(one, "base_dist", one) if type(one).__name__ in ("Independent", "BoxUniform") else one
        kind = type(base).__name__
        numbers = {
            key: np.atleast_1d(np.asarray(getattr(base, key).detach(), dtype=float))
            for key in ("low", "high", "loc", "scale", "covariance_matrix")
            if hasattr(base, key)
        }
        size = len(numbers.get("low", numbers.get("loc", [])))
        taken, left = left[:size], left[size:]
        if len(taken) < size or size == 0 and kind in ("Uniform", "Normal", "LogNormal"):
            raise ValueError(f"names: {len(names)} names are too few for the parameters of the distributions")
        if kind == "MultivariateNormal":
            ours.append(MultivariateNormal(taken, numbers["loc"], numbers["covariance_matrix"]))
            continue
        families: dict[str, tuple[str, str, Any]] = {"Uniform": ("low", "high", Uniform), "Normal": ("loc", "scale", Normal), "LogNormal": ("loc", "scale", LogNormal)}
        if kind not in families:
            missing = "there are Uniform, Normal, LogNormal, MultivariateNormal and Independent or BoxUniform of these"
            raise ValueError(f"torch.distributions.{kind} is no prior of tallsbi: {missing}")
        first, second, family = families[kind]
        for i, name in enumerate(taken):
            ours.append(family(float(numbers[first][i]), float(numbers[second][i]))._json(name))
    if left:
        raise ValueError(f"names: {len(left)} names too many: {', '.join(left)}")
    return Prior(ours)
