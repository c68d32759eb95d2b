"""A simulator of your own: ten lines of NumPy and h5py make a training set that `tallsbi train` takes."""
import h5py
import numpy as np

rng = np.random.default_rng(0)
prior = '[{"name": "rate", "dist": "lognormal", "loc": 0.0, "scale": 0.5}, {"name": "shape", "dist": "uniform", "low": 1.0, "high": 4.0}]'


def simulate(rate, shape):
    """Mean, spread and largest of 20 gamma-distributed waiting times."""
    times = rng.gamma(shape, 1.0 / rate, (len(rate), 20) if np.ndim(rate) else 20)
    return np.log(np.stack([times.mean(-1), times.std(-1), times.max(-1)], -1))


theta = np.stack([rng.lognormal(0.0, 0.5, 10_000), rng.uniform(1.0, 4.0, 10_000)], -1)
with h5py.File("own.h5", "w") as file:
    file["theta"], file["x"] = theta.astype("f4"), np.stack([simulate(*row) for row in theta]).astype("f4")
    file.attrs["prior"] = prior
with h5py.File("own_observations.h5", "w") as file:
    file["x"] = np.stack([simulate(1.5, 2.0) for _ in range(20)]).astype("f4")
