"""Training, models and posteriors."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from . import _tallsbi
from ._arrays import Array, checked_seed, cube, plain, rows, text
from ._files import CheckpointFile, write_whole
from ._prior import Prior, as_prior
from ._progress import Progress, resolve
from ._simulate import Simulations
from ._tree import groups, predictions, tree

EVIDENCE_SAMPLES = 2000
"""Particles of the evidence that normalises `Posterior.log_prob`."""

Error = _tallsbi.Error


def _source(simulations: Any, prior: Prior) -> dict[str, Any]:
    return {
        "prior": prior.to_json(),
        "observation_names": list(getattr(simulations, "observation_names", [])),
        "conditions": getattr(simulations, "conditions", 0),
        "x_transform": getattr(simulations, "x_transform", "identity"),
        "task": getattr(simulations, "task", ""),
        "task_options": text(getattr(simulations, "task_options", {})),
    }


OPTIMIZER_KEYWORDS = ("epochs", "patience", "batch_size", "learning_rate", "weight_decay")
KEYWORDS = ("architecture", *OPTIMIZER_KEYWORDS, "hidden", "members")
"""Common options, by the keywords that `train` takes for them."""


def _options(given: dict[str, Any] | None, chosen: dict[str, Any]) -> dict[str, Any]:
    """Options by section, with those that the keyword arguments choose in every section that has them."""
    options: dict[str, Any] = json.loads(json.dumps(given or {}))

    def put(section: str, key: str, value: Any) -> None:
        options.setdefault(section, {})[key] = value

    for key, value in chosen.items():
        if key in OPTIMIZER_KEYWORDS:
            put("optimizer", key, value)
            for section in ("anchor", "likelihood"):
                options.setdefault(section, {}).setdefault("optimizer", {})[key] = value
            if key == "learning_rate":
                put("likelihood", "learning_rate_factors", [])
        elif key == "hidden":
            put("network", "hidden", list(value))
            put("likelihood", "hidden", list(value))
            put("likelihood", "linear", False)
        elif key == "members":
            put("likelihood", "members", value)
        else:
            options[key] = value
    return options


def train(
    theta: Any,
    x: Any = None,
    prior: Any = None,
    *,
    options: dict[str, Any] | None = None,
    seed: int = 0,
    progress: Progress | bool | None = None,
    conditions: Any = None,
    observation_names: list[str] | None = None,
    x_transform: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    **chosen: Any,
) -> Model:
    """Trains a model on parameters θ (N, m) of the prior and an observation x (N, d), or several (N, K, d), of each.

    `theta` may be what `simulate` gave, alone. `options` are those of `tallsbi train --show-config` as a dict; keywords stand for the common
    ones: architecture ("auto", "likelihood", "anchored", "noise"), epochs, patience, batch_size, learning_rate, hidden, members.
    Rows of x that are not finite are failures, counted and not trained on. Ctrl-C stops within a second.

    `checkpoint` is a file where training keeps how far it is, every 15 s and when it is interrupted, and which is removed at the end. With `resume=True`
    it goes on from there if the file is there, and ends in the same model as without an interruption.

    `conditions` (N, c), or (N, K, c), are known quantities that each observation was made under, such as a stimulus, a dose or a time: p(x|θ, conditions) is
    learned, and `Model.posterior` takes those of the observations.

    >>> from tallsbi import simulate
    >>> simulations = simulate("gaussian_linear", n=500)
    >>> model = train(simulations, epochs=2, hidden=[16], members=1)
    >>> model.architecture
    'likelihood'
    >>> model.posterior(simulations.x[:5]).sample(100).shape
    (100, 10)
    """
    simulations = theta
    if isinstance(theta, Simulations):
        x = theta.x if x is None else x
        prior = theta.prior if prior is None else prior
        theta = theta.theta
    if x is None or prior is None:
        raise ValueError("train: give theta, x and prior, or what simulate gave")
    if resume and checkpoint is None:
        raise ValueError("resume: name the file that the interrupted run kept, checkpoint=PATH")
    file = None if checkpoint is None else CheckpointFile(checkpoint, resume)
    prior = as_prior(prior)
    source = _source(simulations, prior)
    source["observation_names"] = observation_names or source["observation_names"]
    source["x_transform"] = x_transform or source["x_transform"]
    own, seen = rows(theta, "theta", len(prior)), cube(x, "x")
    if conditions is not None:
        given = _beside(conditions, seen)
        seen, source["conditions"] = np.concatenate([given, seen], axis=2), given.shape[2]
        if len(source["observation_names"]) == seen.shape[2] - given.shape[2]:
            source["observation_names"] = [f"condition{i + 1}" for i in range(given.shape[2])] + source["observation_names"]
    settings = text(_options(options, chosen))
    found, keep = (None, None) if file is None else (file.found, file.keep)
    try:
        made = _tallsbi.train(source, own, np.ascontiguousarray(seen), settings, checked_seed(seed), resolve(progress), found, keep)
    except ValueError as error:
        if str(error).startswith("options: unknown field") and chosen:
            raise ValueError(f"{error}; as keywords also {', '.join(KEYWORDS)}") from None
        raise
    model = Model(made)
    if file is not None:
        file.finished()
    for note, doubtful in model._native.notes:
        if doubtful:
            warnings.warn(note, stacklevel=2)
    return model


def _beside(conditions: Any, x: Array) -> Array:
    """Conditions as (N, K, c) for observations (N, K, d)."""
    given = cube(conditions, "conditions")
    if given.shape[:2] != x.shape[:2]:
        raise ValueError(f"conditions: expected {x.shape[:2]} rows of them, one for each of x, found {given.shape[:2]}")
    return given


class Model:
    """A trained model, which gives posteriors for any number of observations."""

    def __init__(self, native: _tallsbi.Model) -> None:
        self._native = native

    @classmethod
    def from_bytes(cls, data: bytes) -> Model:
        """A model from the bytes of its safetensors file, or of a published network."""
        return cls(_tallsbi.Model.from_bytes(bytes(data)))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """A model from its file."""
        with open(path, "rb") as file:
            data = file.read()
        try:
            return cls.from_bytes(data)
        except Error as error:
            raise Error(f"{os.fspath(path)}: {error}") from None

    def to_bytes(self) -> bytes:
        """The bytes of its safetensors file."""
        return self._native.to_bytes()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes its file, beside it first, so that no half of one is ever there."""
        write_whole(path, self.to_bytes())

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return Model.from_bytes, (self.to_bytes(),)

    def fixed(self, **known: float) -> Model:
        """The same likelihood where the parameters named are known: what observations tell of the others then.

        It is exactly this model's p(x|θ) there and needs no training; for likelihoods. Names that are no identifiers go as `fixed(**{"g (dB)": 0})`.

        >>> import tallsbi
        >>> prior = tallsbi.Prior({"shift": tallsbi.Normal(0, 1), "slope": tallsbi.Normal(0, 1)})
        >>> simulations = tallsbi.simulate(lambda theta: theta @ [[1.0, 2.0], [0.0, 1.0]] + 1.0, prior, 300)
        >>> model = tallsbi.train(simulations, epochs=2, hidden=[8], members=1)
        >>> model.fixed(slope=0.5).names
        ['shift']
        """
        return Model(self._native.with_fixed([(name, float(value)) for name, value in known.items()]))

    @property
    def names(self) -> list[str]:
        """Names of the parameters."""
        return self._native.names

    @property
    def architecture(self) -> str:
        """"likelihood", "anchored", "noise" or "refined"."""
        return self._native.architecture

    @property
    def prior(self) -> Prior:
        """The prior it was trained under."""
        return Prior(self._native.prior)

    @property
    def info(self) -> dict[str, Any]:
        """Rows, loss curves, options, seconds."""
        return dict(json.loads(self._native.info))

    @property
    def notes(self) -> list[str]:
        """What was noticed in the training set and in training."""
        return [note for note, _ in self._native.notes]

    def posterior(self, x: Any, conditions: Any = None) -> Posterior:
        """The posterior given the observations x (n, d), of any number n; warns of such as are unlike all simulations. A list of n numbers is n
        observations where a model's have one value, and one observation where they have n.

        `conditions` (n, c) are those that they were made under, where the model has some: one row holds for all. They may as well be the first columns of x."""
        if conditions is None:
            return Posterior(self, rows(x, "observations", self._native.dim_x))
        count = self._native.conditions
        seen, given = rows(x, "observations", self._native.dim_x - count), rows(conditions, "conditions", count)
        if given.shape[1] != count:
            raise ValueError(f"conditions: the model was trained with {count} of them, found {given.shape[1]}")
        if len(given) not in (1, len(seen)):
            raise ValueError(f"conditions: expected {len(seen)} rows, one for each observation, found {len(given)}")
        given = np.broadcast_to(given, (len(seen), count))
        return Posterior(self, np.ascontiguousarray(np.hstack([given, seen])))

    def draws(self, x: Any, count: int = 100, *, seed: int = 0, progress: Progress | bool | None = None, **sampling: Any) -> Array:
        """`count` draws (N, count, m) of the posterior of each of the N sets of observations x (N, n, d): what checks need."""
        settings = text(_sampling(self, 1, sampling))
        sets = plain(x, "x")
        if sets.ndim == 2 and self._native.dim_x == 1:  # (N, n) observations of one value
            sets = sets[:, :, None]
        return self._native.draws(cube(sets, "x"), int(count), settings, checked_seed(seed), resolve(progress))

    def __repr__(self) -> str:
        return f"Model({self.architecture}, {', '.join(self.names)}; {self._native.dim_x} values)"


def _sampling(model: Model, n: int, given: dict[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in given.items() if value is not None}
    if int(n) < 1:
        raise ValueError("n: must be at least 1")
    scores = [key for key in options if key not in ("tempering", "lapse", "network_error")]
    if model._native.is_likelihood and scores:
        raise ValueError(f"{scores[0]}: is for models that learned scores; this one is sampled by tempering, leave it out")
    steps = options.pop("steps", None)
    method, sampler = options.pop("method", None), options.pop("sampler", None)
    if isinstance(method, str):
        method = {"method": method}
    if isinstance(sampler, str):
        sampler = {"sampler": sampler}
    if steps is not None:
        sampler = {**(sampler or {"sampler": "dpm-solver"}), "steps": int(steps)}
    if method is not None:
        options["method"] = method
    if sampler is not None:
        options["sampler"] = sampler
    return {**options, "samples": int(n)}


class Conditional(NamedTuple):
    """A slice through a posterior."""

    names: list[str]
    """The one or two parameters that vary."""
    grids: list[Array]
    """Their values, (G) each."""
    density: Array
    """Density (G), or (G, G) with the first parameter's values as rows, that integrates to 1 over the values (trapezoidal rule)."""


class Posterior:
    """The posterior given observations."""

    def __init__(self, model: Model, x: Array) -> None:
        self.model, self.x = model, x
        self._evidence: float | None = None
        for note, doubtful in model._native.examine(x):
            if doubtful:
                warnings.warn(note, stacklevel=3)

    @property
    def names(self) -> list[str]:
        """Names of the parameters."""
        return self.model.names

    def sample(
        self,
        n: int = 1000,
        *,
        seed: int = 0,
        method: str | dict[str, Any] | None = None,
        sampler: str | dict[str, Any] | None = None,
        steps: int | None = None,
        lapse: float | Literal["infer"] | None = None,
        network_error: Literal["include", "ignore"] | None = None,
        progress: Progress | bool | None = None,
        **options: Any,
    ) -> Array:
        """`n` samples (n, m): those that `tallsbi sample` draws with this seed. With the probability `lapse` an observation is none of the simulator's;
        "infer" makes that rate a last column (n, m + 1); for models that learned the likelihood. Their networks' own error, which all observations share, widens the posterior where
        held-out rows told how large it is; `network_error="ignore"` takes them for exact. `method` ("gauss", "jac", "fnpe", "gaussian"), `sampler` ("dpm-solver",
        "ddim", "langevin", ..), `steps` and other options are for models that learned scores."""
        given = {"method": method, "sampler": sampler, "steps": steps, "lapse": lapse, "network_error": network_error}
        samples: Array = self._chains(n, 1, seed, progress, {**given, **options})[0]
        return samples

    def _chains(self, n: int, chains: int, seed: int, progress: Progress | bool | None, given: dict[str, Any]) -> Array:
        """Samples (chain, draw, m) of independent runs, `n` in all (rounded up to a multiple of them)."""
        if int(chains) < 1:
            raise ValueError("chains: must be at least 1")
        settings = text(_sampling(self.model, -(-int(n) // int(chains)), given))
        samples, cautions = self.model._native.sample(self.x, settings, checked_seed(seed), int(chains), resolve(progress))
        for caution in cautions:
            warnings.warn(caution, stacklevel=3)
        return samples

    def lapse_probabilities(self, samples: Any, *, lapse: float | Literal["infer"]) -> Array:
        """The probability (n) that each observation is a lapse, given samples that were drawn with this `lapse`."""
        width = len(self.names) + (lapse == "infer")
        settings = text(_sampling(self.model, 1, {"lapse": lapse}))
        found = self.model._native.lapse_probabilities(self.x, rows(samples, "samples", width), settings)
        assert found is not None
        return found

    def p_values(self, samples: Any, *, seed: int = 0) -> Array:
        """How implausible each observation (n) is to the fitted model: the share of replications, drawn from the learned likelihood at samples of the
        posterior (with or without a rate of lapses), that are no more probable."""
        return self.model._native.p_values(self.x, rows(samples, "samples"), checked_seed(seed))

    def log_likelihood(self, theta: Any) -> Array:
        """log p(x_1..n|θ) of each row of θ (N, m), in the simulator's units."""
        return self.model._native.log_likelihood(self.x, rows(theta, "theta", len(self.names)))

    def log_evidence(self, *, seed: int = 0, samples: int = EVIDENCE_SAMPLES) -> float:
        """The logarithm of the prior's mean likelihood, by tempering."""
        return self.model._native.log_evidence(self.x, text({"samples": int(samples)}), checked_seed(seed), None)

    def log_prob(self, theta: Any, *, normalized: bool = True) -> Array:
        """Log density of the posterior at each row of θ (N, m), -inf outside the prior's support, of networks taken for exact. Models that learned scores have none.

        Normalised by `log_evidence()`, which is computed once; `normalized=False` leaves it out."""
        values = self.log_likelihood(theta) + self.model.prior.log_prob(theta)
        if normalized and self._evidence is None:
            self._evidence = self.log_evidence()
        return values - (self._evidence or 0.0) if normalized else values

    @overload
    def map(self, *, hessian: Literal[False] = False, seed: int = 0) -> Array: ...
    @overload
    def map(self, *, hessian: Literal[True], seed: int = 0) -> tuple[Array, Array]: ...
    def map(self, *, hessian: bool = False, seed: int = 0) -> Array | tuple[Array, Array]:
        """The θ (m) of largest density, to a thousandth of the posterior's width: from the best of 1000 samples, by a search along its axes. With `hessian` also
        H = -∇∇ᵀ log p(θ|x) (m, m) there: `np.linalg.inv(H)` is the covariance of Laplace's approximation, `np.sqrt(np.diag(..))` its standard deviations. Where the mode lies at the
        edge of the prior's support there is none, and `tallsbi.Error` says so. Networks are taken for exact, as in `log_prob`."""
        self._check_density()
        theta, matrix = self.model._native.mode(self.x, self.sample(1000, seed=seed, progress=False), hessian)
        return theta if matrix is None else (theta, matrix)

    def conditional(
        self,
        names: str | Sequence[str],
        at: Any = None,
        *,
        range: Sequence[float] | Sequence[Sequence[float]] | None = None,
        points: int = 101,
        seed: int = 0,
    ) -> Conditional:
        """The density of one parameter, or of two, with all others held at `at` (m) (default: `map()`): p(θ_i|θ_others, x) or p(θ_i, θ_j|θ_others, x), on `points` evenly spaced
        values of each within `range` (default: that of 1000 samples, and a twelfth more to either side). It is narrower than the marginal where parameters trade off. Networks are taken for exact, as in `log_prob`."""
        self._check_density()
        names = [names] if isinstance(names, str) else list(names)
        if not 1 <= len(names) <= 2 or len(set(names)) != len(names):
            raise ValueError(f"names: one parameter or two different ones, of {', '.join(self.names)}, found {names}")
        for name in names:
            if name not in self.names:
                raise ValueError(f"names: {name!r} is none of the parameters {', '.join(self.names)}")
        which = [self.names.index(name) for name in names]
        held = self.map(seed=seed) if at is None else plain(at, "at").reshape(-1)
        if held.shape != (len(self.names),):
            raise ValueError(f"at: expected a value of each of {', '.join(self.names)}, found {held.size}")
        if range is None:
            own = self.sample(1000, seed=seed, progress=False)[:, which]
            low, high = np.minimum(own.min(0), held[which]), np.maximum(own.max(0), held[which])
            limits = np.stack([low - (high - low) / 12, high + (high - low) / 12], 1)
        else:
            limits = plain(range, "range").reshape(-1, 2)
        if limits.shape != (len(names), 2) or not np.all(limits[:, 0] < limits[:, 1]) or int(points) < 2:
            raise ValueError("range: low < high of each parameter that varies, with points at least 2")
        grids = [np.linspace(low, high, int(points)) for low, high in limits]
        density = self.model._native.conditional(self.x, held.tolist(), [(i, grid.tolist()) for i, grid in zip(which, grids)])
        return Conditional(names, grids, density[:, 0] if len(names) == 1 else density)

    def _check_density(self) -> None:
        """Says so where there is no density, before anything is sampled."""
        self.log_likelihood(np.empty((0, len(self.names))))

    def summary(self, n: int = 1000, *, seed: int = 0) -> dict[str, dict[str, float]]:
        """Mean, sd and quantiles of each parameter."""
        samples = self.sample(n, seed=seed, progress=False)
        low, median, high = np.quantile(samples, [0.05, 0.5, 0.95], axis=0)
        parts = {"mean": samples.mean(0), "sd": samples.std(0), "q05": low, "median": median, "q95": high}
        return {name: {key: float(part[i]) for key, part in parts.items()} for i, name in enumerate(self.names)}

    def to_datatree(
        self,
        n: int = 1000,
        *,
        chains: int = 1,
        seed: int = 0,
        predictive: bool = False,
        simulator: Callable[..., Any] | str | None = None,
        task_options: dict[str, Any] | None = None,
    ) -> Any:
        """An xarray DataTree as ArviZ 1 takes it: posterior, prior, observed_data and, of likelihoods, log_likelihood and sample_stats, whose `lp` is
        `log_prob(normalized=False)`. There are `n` samples over all `chains` (rounded up to a multiple of them), each of which is a run of its own: R-hat of one cannot see what
        all of its particles missed, that of several compares them. It says what made it but not when: the same seed gives the same tree.

        `predictive=True` adds posterior_predictive: at each sample as many observations as there are, under their conditions, simulated by `simulator`, which is as for `predict`, or by
        the built-in task that the model was trained on."""
        made = groups(self, n, chains, seed)
        if predictive:
            made |= predictions(self, made["posterior"], simulator, task_options, seed)
        return tree(made)

    def to_inference_data(self, n: int = 1000, *, chains: int = 1, seed: int = 0) -> Any:
        """The same as InferenceData, for ArviZ before 1."""
        kind: Any = None
        with contextlib.suppress(ImportError):
            kind = getattr(importlib.import_module("arviz"), "InferenceData", None)
        if not hasattr(kind, "add_groups"):
            raise ImportError("this ArviZ has no InferenceData (or is not there); use to_datatree()")
        return kind(**groups(self, n, chains, seed))

    def __repr__(self) -> str:
        return f"Posterior({', '.join(self.names)}; {len(self.x)} observations)"
