"""Effective samples per second of `tallsbi reference` and of numpyro's NUTS on the same posteriors, in one run.

    pip install numpyro "jax[cpu]" h5py arviz
    python inference/benches/compare_numpyro.py REFERENCE [--tallsbi BINARY] [--n-obs 14] [--set 0] [--repeats 3]

REFERENCE is a folder with sir.h5 and lotka_volterra.h5 (x_obs (sets, 100, d), theta_true (sets, m)). Both sample 4 chains of
1000 draws in the parameters' logarithms (where the priors are normal) after their own warm-up, one chain after another on one
thread. Effective samples are ArviZ's, the smallest of bulk and tail over the parameters; seconds are CPU time of sampling and
warm-up, the best of the repeats, without numpyro's compilation and the program starts. numpyro gets every advantage of the
published reference chains: it starts at the true parameters, solves to the tolerances of its own ODE example (1e-6, 1e-5;
ours 1e-8), and sees sufficient statistics instead of all observations.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import arviz
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.experimental.ode import odeint
from numpyro.infer import MCMC, NUTS, init_to_value

jax.config.update("jax_enable_x64", True)
CHAINS, DRAWS, WARMUP = 4, 1000, 500


def sir(x):
    positive, tested = x.sum(0), 1000.0 * len(x)
    times, population = jnp.arange(10) * 17.0, 1e6

    def rhs(y, t, theta):
        infections = theta[0] * y[0] * y[1] / population
        return jnp.array([-infections, infections - theta[1] * y[1]])

    def model():
        log_theta = numpyro.sample("log_theta", dist.Normal(jnp.log(jnp.array([0.4, 0.125])), jnp.array([0.5, 0.2])))
        y = odeint(rhs, jnp.array([population - 1, 1.0]), times, jnp.exp(log_theta), rtol=1e-6, atol=1e-5, mxstep=1000)
        p = jnp.clip(y[:, 1] / population, 1e-12, 1 - 1e-12)
        numpyro.factor("x", jnp.sum(positive * jnp.log(p) + (tested - positive) * jnp.log1p(-p)))

    return model


def lotka_volterra(x):
    mean, n = jnp.log(x).mean(0).reshape(2, 10).T, len(x)
    times = jnp.arange(10) * 2.1

    def rhs(y, t, theta):
        return jnp.array([(theta[0] - theta[1] * y[1]) * y[0], (-theta[2] + theta[3] * y[0]) * y[1]])

    def model():
        log_theta = numpyro.sample("log_theta", dist.Normal(jnp.array([-0.125, -3.0, -0.125, -3.0]), 0.5))
        y = odeint(rhs, jnp.array([30.0, 1.0]), times, jnp.exp(log_theta), rtol=1e-6, atol=1e-5, mxstep=1000)
        residual = (mean - jnp.log(jnp.clip(y, 1e-10, 1e4))) / 0.1
        numpyro.factor("x", -0.5 * n * jnp.sum(residual**2))

    return model


def effective(draws):
    """Smallest bulk or tail effective size over the last axis of (chain, draw, m)."""
    return min(float(arviz.ess(draws[:, :, i], method=m)) for i in range(draws.shape[2]) for m in ("bulk", "tail"))


def run_numpyro(model, theta, repeats):
    start = init_to_value(values={"log_theta": jnp.log(theta)})
    mcmc = MCMC(
        NUTS(model, init_strategy=start, dense_mass=True),
        num_warmup=WARMUP, num_samples=DRAWS, num_chains=CHAINS, chain_method="sequential", progress_bar=False,
    )
    mcmc.run(jax.random.PRNGKey(0))  # compiles
    best, gradients = np.inf, 0
    for repeat in range(repeats):
        before = time.process_time()
        mcmc.run(jax.random.PRNGKey(repeat), extra_fields=("num_steps",))
        draws = np.asarray(mcmc.get_samples(group_by_chain=True)["log_theta"])
        best = min(best, time.process_time() - before)
        gradients = int(mcmc.get_extra_fields()["num_steps"].sum())
    return best, effective(draws), gradients, draws


def run_tallsbi(binary, task, source, n_obs, repeats):
    best = np.inf
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "reference.nc")
        command = [binary, "reference", task, "--observations", source, "--n-obs", str(n_obs), "--samples",
                   str(CHAINS * DRAWS), "--thinning", "1", "-o", path, "--force", "--threads", "1", "--json", "--quiet"]
        for _ in range(repeats):
            before = os.times()
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            after = os.times()
            best = min(best, after.children_user + after.children_system - before.children_user - before.children_system)
        run = json.loads(out)
        with h5py.File(path) as file:
            draws = np.stack([file["posterior"][name][:] for name in run["parameter_names"]], axis=-1)
    return best, effective(draws), run["run"]["sampling_gradients"], np.log(draws)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference")
    parser.add_argument("--tallsbi", default="tallsbi")
    parser.add_argument("--n-obs", type=int, default=14)
    parser.add_argument("--set", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'task':15} {'sampler':8} {'CPU s':>8} {'ESS':>7} {'ESS/s':>9} {'gradients':>10}  means of log theta")
    for task, build in [("sir", sir), ("lotka_volterra", lotka_volterra)]:
        path = os.path.join(arguments.reference, f"{task}.h5")
        with h5py.File(path) as file:
            x = np.asarray(file["x_obs"][arguments.set][: arguments.n_obs], dtype=np.float64)
            theta = np.asarray(file["theta_true"][arguments.set], dtype=np.float64)
        rows = [
            ("tallsbi", *run_tallsbi(arguments.tallsbi, task, f"{path}:x_obs:{arguments.set}", arguments.n_obs, arguments.repeats)),
            ("numpyro", *run_numpyro(build(x), theta, arguments.repeats)),
        ]
        for name, seconds, ess, gradients, draws in rows:
            means = " ".join(f"{mean:.4f}" for mean in draws.mean((0, 1)))
            print(f"{task:15} {name:8} {seconds:8.2f} {ess:7.0f} {ess / seconds:9.1f} {gradients:10d}  {means}", flush=True)
        print(f"{task:15} ratio    {(rows[0][2] / rows[0][1]) / (rows[1][2] / rows[1][1]):8.1f}", flush=True)


if __name__ == "__main__":
    main()
