"""Simulation-based inference from many observations of the same thing.

>>> import numpy as np
>>> import tallsbi
>>> prior = tallsbi.Prior({"rate": tallsbi.LogNormal(0.0, 0.5), "offset": tallsbi.Normal(0.0, 1.0)})
>>> def simulator(theta, rng):
...     return theta[1] + rng.exponential(1.0 / theta[0], 2)
>>> theta, x = tallsbi.simulate(simulator, prior, 500)
>>> model = tallsbi.train(theta, x, prior, epochs=2, hidden=[16], members=1)
>>> rng = np.random.default_rng(0)
>>> posterior = model.posterior(np.stack([simulator([1.0, 0.5], rng) for _ in range(10)]))
>>> posterior.sample(100).shape
(100, 2)
>>> posterior.log_prob(theta[:3]).shape
(3,)
"""

from . import diagnostics
from ._answers import Evidence, Recording, Windows, compare, read_recording, summarise_recording
from ._model import Conditional, Model, Posterior, train
from ._predict import predict
from ._prior import (
    Beta,
    Cauchy,
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    LogNormal,
    LogUniform,
    MultivariateLogNormal,
    MultivariateNormal,
    Normal,
    Prior,
    StudentT,
    TruncatedNormal,
    Uniform,
    torch_prior,
)
from ._refine import PosteriorSbc, Reference, Refined, posterior_sbc, reference, refine
from ._simulate import Simulations, observe, simulate, tasks
from ._tallsbi import Error, set_threads

__all__ = [
    "Beta",
    "Cauchy",
    "Conditional",
    "Error",
    "Evidence",
    "Exponential",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "LogNormal",
    "LogUniform",
    "Model",
    "MultivariateLogNormal",
    "MultivariateNormal",
    "Normal",
    "Posterior",
    "PosteriorSbc",
    "Prior",
    "Recording",
    "Reference",
    "Refined",
    "Simulations",
    "StudentT",
    "TruncatedNormal",
    "Uniform",
    "Windows",
    "compare",
    "diagnostics",
    "observe",
    "posterior_sbc",
    "predict",
    "read_recording",
    "reference",
    "refine",
    "set_threads",
    "simulate",
    "summarise_recording",
    "tasks",
    "torch_prior",
    "train",
]
