"""Posteriors as groups of ArviZ."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import Array
from ._predict import predict

if TYPE_CHECKING:
    from ._model import Posterior


def groups(posterior: Posterior, n: int, chains: int, seed: int) -> dict[str, Any]:
    """What is known of a posterior without its simulator, by the name of the group."""
    try:
        import xarray as xr
    except ImportError:
        raise ImportError("ArviZ's formats need xarray: pip install tallsbi[arviz]") from None
    samples, prior = posterior._chains(n, chains, seed, False, {}), posterior.model.prior.sample(n, seed)
    flat, shape = samples.reshape(-1, samples.shape[2]), samples.shape[:2]

    def draws(theta: Array) -> Any:
        return xr.Dataset({name: (("chain", "draw"), theta[..., i]) for i, name in enumerate(posterior.names)})

    made = {"posterior": draws(samples), "prior": draws(prior[None])}
    made["observed_data"] = xr.Dataset({"x": (("obs", "value"), posterior.x)})
    native = posterior.model._native
    if native.is_likelihood:
        each = native.pointwise_log_likelihood(posterior.x, flat, None)
        made["log_likelihood"] = xr.Dataset({"x": (("chain", "draw", "obs"), each.reshape(*shape, -1))})
        density = posterior.log_prob(flat, normalized=False).reshape(shape)
        made["sample_stats"] = xr.Dataset({"lp": (("chain", "draw"), density)})
    return {name: _described(group) for name, group in made.items()}


def tree(made: dict[str, Any]) -> Any:
    """The DataTree of groups."""
    import xarray as xr

    return xr.DataTree.from_dict(made)


def predictions(
    posterior: Posterior,
    samples: Any,
    simulator: Callable[..., Any] | str | None,
    task_options: dict[str, Any] | None,
    seed: int,
) -> dict[str, Any]:
    """The group posterior_predictive at the samples of the group posterior."""
    import xarray as xr

    simulator = simulator or posterior.model.info["task"]
    if not simulator:
        raise ValueError("simulator: the model does not know its task; give the function, or the task's name")
    theta = np.stack([samples[name].values for name in posterior.names], -1)
    count = posterior.model._native.conditions
    known = posterior.x[:, :count] if count else None
    x = predict(
        simulator, theta.reshape(-1, theta.shape[2]), len(posterior.x), conditions=known, task_options=task_options, seed=seed
    )
    dims = ("chain", "draw", "obs", "value")
    return {"posterior_predictive": _described(xr.Dataset({"x": (dims, x.reshape(*theta.shape[:2], *x.shape[1:]))}))}


def _described(group: Any) -> Any:
    """With coordinates, and what made it."""
    made = version("tallsbi")
    attributes: dict[str, Any] = {"inference_library": "tallsbi", "inference_library_version": made}
    attributes |= {"creation_library": "tallsbi", "creation_library_version": made, "creation_library_language": "Python"}
    if "draw" in group.dims:
        attributes["sample_dims"] = ["chain", "draw"]
    group = group.assign_coords({key: np.arange(size) for key, size in group.sizes.items() if key != "value"})
    group.attrs = attributes
    return group
