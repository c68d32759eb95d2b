"""Priors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np

from . import _tallsbi
from ._arrays import Array, checked_seed, rows


def _numbers(distribution: Any, name: str, dist: str) -> dict[str, Any]:
    return {"name": name, "dist": dist} | {one.name: float(getattr(distribution, one.name)) for one in fields(distribution)}


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


@dataclass(frozen=True)
class LogUniform:
    """The logarithm is uniform between those of `low` > 0 and `high`."""

    low: float
    high: float

    def _json(self, name: str) -> dict[str, Any]:
        return _numbers(self, name, "loguniform")


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal of mean `loc` and standard deviation `scale`, given that it lies between `low` and `high`, either of which may be infinite."""

    loc: float
    scale: float
    low: float = float("-inf")
    high: float = float("inf")

    def _json(self, name: str) -> dict[str, Any]:
        numbers = _numbers(self, name, "truncated_normal")
        none = {"low": float("-inf"), "high": float("inf")}
        return {key: value for key, value in numbers.items() if value != none.get(key)}


@dataclass(frozen=True)
class HalfNormal:
    """The absolute value of a normal around zero of standard deviation `scale`."""

    scale: float

    def _json(self, name: str) -> dict[str, Any]:
        return _numbers(self, name, "half_normal")


@dataclass(frozen=True)
class Beta:
    """Density proportional to x^(alpha - 1) (1 - x)^(beta - 1) between 0 and 1."""

    alpha: float
    beta: float

    def _json(self, name: str) -> dict[str, Any]:
        return _numbers(self, name, "beta")


@dataclass(frozen=True)
class Gamma:
    """Density proportional to x^(shape - 1) exp(-rate x)."""

    shape: float
    rate: float

    def _json(self, name: str) -> dict[str, Any]:
        return _numbers(self, name, "gamma")


@dataclass(frozen=True)
class InverseGamma:
    """Density proportional to x^(-shape - 1) exp(-scale / x)."""

    shape: float
    scale: float

    def _json(self, name: str) -> dict[str, Any]:
        return _numbers(self, name, "inverse_gamma")


@dataclass(frozen=True)
class Exponential:
    """Density proportional to exp(-rate x)."""

    rate: float

    def _json(self, name: str) -> dict[str, Any]:
        return _numbers(self, name, "exponential")


@dataclass(frozen=True)
class StudentT:
    """Student's t with `df` degrees of freedom around `loc`."""

    df: float
    loc: float
    scale: float

    def _json(self, name: str) -> dict[str, Any]:
        return _numbers(self, name, "student_t")


@dataclass(frozen=True)
class Cauchy:
    """Cauchy around `loc`; half of it lies within `scale`."""

    loc: float
    scale: float

    def _json(self, name: str) -> dict[str, Any]:
        return _numbers(self, name, "cauchy")


@dataclass(frozen=True)
class HalfCauchy:
    """The absolute value of a Cauchy around zero, of median `scale`."""

    scale: float

    def _json(self, name: str) -> dict[str, Any]:
        return _numbers(self, name, "half_cauchy")


class MultivariateNormal:
    """Normal over several parameters; a prior by itself wherever one is taken."""

    _dist = "multivariate_normal"

    def __init__(self, names: Sequence[str], loc: Any, covariance: Any) -> None:
        self.names = list(names)
        self.loc = np.asarray(loc, dtype=float).tolist()
        self.covariance = np.asarray(covariance, dtype=float).tolist()

    def _json(self, name: str = "") -> dict[str, Any]:
        return {"dist": self._dist, "names": self.names, "loc": self.loc, "covariance": self.covariance}


class MultivariateLogNormal(MultivariateNormal):
    """The logarithms are normal over several parameters."""

    _dist = "multivariate_lognormal"


Distribution = (
    Uniform
    | Normal
    | LogNormal
    | LogUniform
    | TruncatedNormal
    | HalfNormal
    | Beta
    | Gamma
    | InverseGamma
    | Exponential
    | StudentT
    | Cauchy
    | HalfCauchy
    | MultivariateNormal
)


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
    if not isinstance(distribution, Distribution):
        kinds = f"one of tallsbi's distributions ({', '.join(kind.__name__ for kind in get_args(Distribution))})"
        raise ValueError(f"prior of {name!r}: expected {kinds}, found {type(distribution).__name__}")
    return distribution._json(name)


def as_prior(prior: Any) -> Prior:
    """`prior` as a Prior; a distribution of torch has the parameters theta_1, theta_2, .."""
    if hasattr(prior, "event_shape"):
        size = int(np.prod(prior.event_shape)) * int(np.prod(prior.batch_shape))
        return torch_prior(prior, [f"theta_{i + 1}" for i in range(size)])
    return prior if isinstance(prior, Prior) else Prior(prior)


# Names of torch.distributions, our class, and the attributes that its numbers are.
_TORCH: dict[str, tuple[Any, tuple[str, ...]]] = {
    "Uniform": (Uniform, ("low", "high")),
    "Normal": (Normal, ("loc", "scale")),
    "LogNormal": (LogNormal, ("loc", "scale")),
    "HalfNormal": (HalfNormal, ("scale",)),
    "Beta": (Beta, ("concentration1", "concentration0")),
    "Gamma": (Gamma, ("concentration", "rate")),
    "InverseGamma": (InverseGamma, ("concentration", "rate")),
    "Exponential": (Exponential, ("rate",)),
    "StudentT": (StudentT, ("df", "loc", "scale")),
    "Cauchy": (Cauchy, ("loc", "scale")),
    "HalfCauchy": (HalfCauchy, ("scale",)),
}


def torch_prior(distribution: Any, names: Sequence[str]) -> Prior:
    """The prior of torch.distributions, or a list of them: Uniform, Normal, LogNormal, HalfNormal, Beta, Gamma, InverseGamma, Exponential,
    StudentT, Cauchy, HalfCauchy, MultivariateNormal, Independent of these, and sbi's BoxUniform (an Independent). Others are not there, and a
    ValueError says so."""
    ours: list[Any] = []
    left = list(names)
    for one in distribution if isinstance(distribution, list | tuple) else [distribution]:
        base = getattr(one, "base_dist", one) if type(one).__name__ in ("Independent", "BoxUniform") else one
        kind = type(base).__name__
        if kind not in _TORCH and kind != "MultivariateNormal":
            raise ValueError(f"torch.distributions.{kind} is no prior of tallsbi: there are {', '.join(_TORCH)}, MultivariateNormal and Independent or BoxUniform of these")
        family, attributes = _TORCH.get(kind, (MultivariateNormal, ("loc", "covariance_matrix")))
        numbers = [np.atleast_1d(np.asarray(getattr(base, key).detach(), dtype=float)) for key in attributes]
        size = len(numbers[0])
        taken, left = left[:size], left[size:]
        if len(taken) < size:
            raise ValueError(f"names: {len(names)} names are too few for the parameters of the distributions")
        if family is MultivariateNormal:
            ours.append(MultivariateNormal(taken, *numbers))
            continue
        columns = np.broadcast_arrays(*numbers)
        ours.extend(family(*(float(column[i]) for column in columns))._json(name) for i, name in enumerate(taken))
    if left:
        raise ValueError(f"names: {len(left)} names too many: {', '.join(left)}")
    return Prior(ours)
