"""How far wrong are the likelihoods that `tallsbi train` learns of Lotka-Volterra?

    python examples/likelihood_error.py MODEL.safetensors ..

The mean of log x is known exactly here, so that the error e of a network's mean can be weighed as n observations weigh it: it moves
the posterior's mean by |(n J'J/s^2 + I)^-1/2 n J'e/s^2| posterior standard deviations (J the derivative by the latent parameters, s = 0.1 the
noise), to first order, and a shift of d makes a C2ST of Phi(d/2). Prints means over prior draws: of the networks one by one, and of averages of
several (as models with members sample them; several MODELs are taken together). Needs numpy, scipy, safetensors.
"""
import itertools
import json
import sys

import numpy as np
from safetensors import safe_open
from scipy.integrate import solve_ivp
from scipy.stats import norm

LOC, SCALE, NOISE = np.array([-0.125, -3.0, -0.125, -3.0]), 0.5, 0.1
TIMES = 2.1 * np.arange(10)
DRAWS, STEP = 1000, 1e-3


def mean_log_x(latent):
    """Logarithms of prey and predators (rows, 20) at the observation times."""
    a, b, c, d = np.exp(LOC + SCALE * latent).T

    def slope(_, state):
        prey, predators = state.reshape(2, -1)
        return np.concatenate([a - b * np.exp(predators), d * np.exp(prey) - c])

    start = np.repeat(np.log([30.0, 1.0]), len(latent))
    solution = solve_ivp(slope, (0.0, TIMES[-1]), start, t_eval=TIMES, rtol=1e-8, atol=1e-8)
    states = solution.y.reshape(2, len(latent), len(TIMES)).transpose(1, 0, 2).reshape(len(latent), -1)
    return np.clip(states, np.log(1e-10), np.log(1e4))


def network_means(path, latent):
    """The mean of log x (rows, 20) by each network of a model."""
    with safe_open(path, "numpy") as file:
        model = json.loads(file.metadata()["tallsbi_model"])
        weights = {name: file.get_tensor(name).astype(float) for name in file.keys()}
    network, scaling = model["architecture"]["network"], model["observation_map"]
    if (network["activation"], network["layer_norm"], network["residual"]) != ("gelu", True, True):
        sys.exit(f"{path}: only networks of the default kind (GELU, layer norm, residual) are read here")
    for member in range(model["architecture"]["members"]):
        hidden = latent
        for layer in range(len(network["hidden"]) + 1):
            part = {name.rsplit(".", 1)[1]: w for name, w in weights.items() if name.startswith(f"likelihood_{member}.{layer}.")}
            values = hidden @ part["weight"].T + part["bias"]
            if "norm_weight" not in part:
                break
            values = (values - values.mean(1, keepdims=True)) / np.sqrt(values.var(1, keepdims=True) + 1e-5)
            values = values * part["norm_weight"] + part["norm_bias"]
            values *= 0.5 * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (values + 0.044715 * values**3)))
            hidden = hidden + values if hidden.shape == values.shape else values
        yield values[:, : len(scaling["mean"])] * scaling["sd"] + scaling["mean"]


latent = np.random.default_rng(12345).standard_normal((DRAWS, 4))
exact = mean_log_x(latent)
sides = [(mean_log_x(latent + STEP * unit) - mean_log_x(latent - STEP * unit)) / (2 * STEP) for unit in np.eye(4)]
jacobian = np.stack(sides, -1)


def c2st(means, n):
    precision = n * jacobian.transpose(0, 2, 1) @ jacobian / NOISE**2 + np.eye(4)
    pull = n * np.einsum("kij,ki->kj", jacobian, means - exact) / NOISE**2
    distance = np.sqrt(np.einsum("kj,kj->k", pull, np.linalg.solve(precision, pull[..., None])[..., 0]))
    return norm.cdf(distance / 2).mean()


networks = [means for path in sys.argv[1:] for means in network_means(path, latent)]
if not networks:
    sys.exit(__doc__)
for count in sorted({1, 2, 4, len(networks)}):
    chosen = list(itertools.combinations(networks, count))
    if chosen:
        figures = " / ".join(f"{np.mean([c2st(np.mean(some, 0), n) for some in chosen]):.3f}" for n in (1, 14, 30))
        print(f"C2ST by the mean's error at n = 1 / 14 / 30, averages of {count}: {figures}")
