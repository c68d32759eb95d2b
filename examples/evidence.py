"""Log evidence and leave-one-out cross-validation of learned likelihoods beside the exact ones.

    python examples/evidence.py TASK [--sets 3] [--rows 30000] [--refine BUDGET] [--tallsbi PROGRAM]

TASK is gaussian_linear (evidence in closed form), sir (numerical integration) or lotka_volterra (importance sampling). The exact likelihoods are written
down here in NumPy and SciPy, by other solvers than tallsbi's. For each set of observations at a new draw from the prior, and n = 1, 14, 30:
the evidence that `tallsbi compare` finds of a model of `tallsbi train`, and with --refine of one of `tallsbi refine`; ArviZ's PSIS-LOO of
`tallsbi sample --log-likelihood` against PSIS-LOO of exact pointwise likelihoods at draws of the exact posterior. Needs arviz 0.2x, h5py, netcdf4, scipy.
"""

import argparse
import json
import subprocess
import tempfile
import warnings
from pathlib import Path

import h5py
import numpy as np
from scipy import stats
from scipy.special import logsumexp

warnings.simplefilter("ignore")  # ArviZ warns of its own next version.
import arviz  # noqa: E402

SIZES = [1, 14, 30]
DRAWS = 4000


def runge_kutta(slope, state, times, step):
    """States (times, ..) of dy/dt = slope(y), by the classical method of order 4; `state` has one column for each of many parameters."""
    found, t = [state], 0.0
    for time in times[1:]:
        count = int(np.ceil((time - t) / step))
        h = (time - t) / count
        for _ in range(count):
            a = slope(state)
            b = slope(state + 0.5 * h * a)
            c = slope(state + 0.5 * h * b)
            state = state + h / 6 * (a + 2 * b + 2 * c + slope(state + h * c))
        found.append(state)
        t = time
    return np.array(found)


class GaussianLinear:
    """x ~ N(θ, diag(0.6, .., 1.4)), θ ~ N(0, I) in ten dimensions."""

    variances = np.linspace(0.6, 1.4, 10)

    def latent(self, theta):
        return theta

    def pointwise(self, z, x):
        return stats.norm.logpdf(x[None], z[:, None], np.sqrt(self.variances)).sum(-1)

    def evidence(self, x, draws):
        n = len(x)
        # x of one coordinate is N(0, v I + 1 1ᵀ).
        log_evidence = sum(
            stats.multivariate_normal.logpdf(column, np.zeros(n), v * np.eye(n) + 1.0) for column, v in zip(x.T, self.variances)
        )
        precision = 1 + n / self.variances
        mean = x.sum(0) / self.variances / precision
        rng = np.random.default_rng(0)
        return log_evidence, 0.0, mean + rng.normal(size=(DRAWS, 10)) / np.sqrt(precision)


class LogNormalPrior:
    """Tasks of which z = (log θ − loc)/scale is N(0, I)."""

    def latent(self, theta):
        return (np.log(theta) - self.loc) / self.scale

    def joint(self, z, x):
        values = self.pointwise(z, x).sum(-1) + stats.norm.logpdf(z).sum(-1)
        return np.where(np.isfinite(values), values, -np.inf)


class Sir(LogNormalPrior):
    loc, scale = np.log([0.4, 0.125]), np.array([0.5, 0.2])

    def pointwise(self, z, x):
        beta, gamma = np.exp(self.loc + self.scale * z).T
        people = 1e6

        def slope(y):
            new, recovered = beta * y[0] * y[1] / people, gamma * y[1]
            return np.stack([-new, new - recovered])

        start = np.stack([np.full_like(beta, people - 1), np.ones_like(beta)])
        share = runge_kutta(slope, start, 17.0 * np.arange(10), 0.1)[:, 1].T / people
        return stats.binom.logpmf(x[None], 1000, share[:, None]).sum(-1)

    def evidence(self, x, draws):
        """Rectangles over 7 standard deviations around the posterior; draws are those of its cells."""
        mean, factor = draws.mean(0), np.linalg.cholesky(np.cov(draws.T))
        line = np.arange(-7, 7.01, 0.2)
        z = mean + np.stack(np.meshgrid(line, line), -1).reshape(-1, 2) @ factor.T
        joint = self.joint(z, x)
        log_evidence = logsumexp(joint) + 2 * np.log(0.2) + np.log(np.diag(factor)).sum()
        # A few draws a cell would repeat its centre: they are spread over it, and weighed.
        rng = np.random.default_rng(0)
        cells = rng.choice(len(z), DRAWS, p=np.exp(joint - logsumexp(joint)))
        spread = z[cells] + rng.uniform(-0.1, 0.1, (DRAWS, 2)) @ factor.T
        log_weights = self.joint(spread, x) - joint[cells]
        kept = rng.choice(DRAWS, DRAWS, p=np.exp(log_weights - logsumexp(log_weights)))
        return log_evidence, 0.0, spread[kept]


class LotkaVolterra(LogNormalPrior):
    loc, scale = np.array([-0.125, -3.0, -0.125, -3.0]), np.full(4, 0.5)

    def pointwise(self, z, x):
        alpha, beta, gamma, delta = np.exp(self.loc + self.scale * z).T

        def slope(y):
            return np.stack([(alpha - beta * y[1]) * y[0], (-gamma + delta * y[0]) * y[1]])

        start = np.stack([np.full_like(alpha, 30.0), np.ones_like(alpha)])
        states = runge_kutta(slope, start, 2.1 * np.arange(10), 0.01)
        logs = np.log(np.clip(np.concatenate([states[:, 0], states[:, 1]]).T, 1e-10, 1e4))
        return (stats.norm.logpdf(np.log(x)[None], logs[:, None], 0.1) - np.log(x)[None]).sum(-1)

    def evidence(self, x, draws):
        """Importance sampling from a t distribution around the draws, 1.2 times as wide."""
        proposal = stats.multivariate_t(draws.mean(0), 1.44 * np.cov(draws.T), 5, seed=0)
        z = proposal.rvs(DRAWS)
        log_weights = self.joint(z, x) - proposal.logpdf(z)
        log_evidence = logsumexp(log_weights) - np.log(DRAWS)
        error = np.sqrt(np.mean((np.exp(log_weights - log_evidence) - 1) ** 2) / DRAWS)
        kept = np.random.default_rng(1).choice(DRAWS, DRAWS, p=np.exp(log_weights - logsumexp(log_weights)))
        return log_evidence, error, z[kept]


TASKS = {"gaussian_linear": GaussianLinear, "sir": Sir, "lotka_volterra": LotkaVolterra}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--sets", type=int, default=3, help="sets of observations")
    parser.add_argument("--rows", type=int, default=30_000, help="simulations to train on")
    parser.add_argument("--refine", type=int, metavar="BUDGET", help="refine at each set with so many simulations")
    parser.add_argument("--tallsbi", default="tallsbi", help="the program")
    return parser.parse_args()


def leave_one_out(pointwise):
    """elpd of each observation by PSIS-LOO from log-likelihoods (S, n), and the largest Pareto k."""
    data = arviz.from_dict(posterior={"z": np.zeros((1, len(pointwise)))}, log_likelihood={"x": pointwise[None]})
    found = arviz.loo(data, pointwise=True)
    return found.loo_i.values, float(found.pareto_k.max())


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        compare(options, TASKS[options.task](), Path(folder))


def compare(options, task, folder):
    def run(*words):
        result = subprocess.run([options.tallsbi, *map(str, words), "-q"], cwd=folder, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(result.stderr)
        return result.stdout

    run("simulate", options.task, "-n", options.rows, "--seed", 1, "-o", "train.h5")
    run("train", "train.h5", "-o", "model.st")
    print("| set | n | exact log evidence | trained | refined | elpd of LOO, exact (its se) | trained − exact (se of the difference) | largest k |")
    print("|---|---|---|---|---|---|---|---|")
    for index in range(options.sets):
        run("observe", options.task, "--from-prior", "--seed", 9000 + index, "-n", max(SIZES), "-o", f"obs{index}.h5")
        with h5py.File(folder / f"obs{index}.h5") as file:
            observed = file["x"][:].astype(float)
        for n in SIZES:
            given = ["--observations", f"obs{index}.h5", "--n-obs", n]
            run("reference", options.task, *given, "-o", "exact.nc", "--force", "--allow-unconverged")
            draws = task.latent(parameters(folder / "exact.nc"))
            exact, error, exact_draws = task.evidence(observed[:n], draws)
            models = ["model.st", "model.st"]
            if options.refine:
                refine = ["--budget", options.refine, "-o", "refined.st", "--posterior", "refined.nc", "--force"]
                run("refine", "model.st", "--task", options.task, *given, *refine)
                models[1] = "refined.st"
            found = json.loads(run("compare", *models, *given, "--json"))["models"]
            shown = [f"{model['log_evidence'] - exact:+.2f} ± {model['error']:.2f}" for model in found]
            row = [index + 1, n, f"{exact:.2f} ± {error:.2f}", shown[0], shown[1] if options.refine else "", *["", "", ""]]
            if n > 1:
                run("sample", "model.st", *given, "--samples", DRAWS, "--log-likelihood", "-o", "ours.nc", "--force")
                ours = arviz.loo(arviz.from_netcdf(folder / "ours.nc"), pointwise=True)
                elpd, k = leave_one_out(task.pointwise(exact_draws, observed[:n]))
                difference = ours.loo_i.values - elpd
                row[5] = f"{elpd.sum():.2f} ({np.sqrt(n * elpd.var()):.2f})"
                row[6] = f"{difference.sum():+.2f} ({np.sqrt(n * difference.var()):.2f})"
                row[7] = f"{max(k, float(ours.pareto_k.max())):.2f}"
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


def parameters(path):
    """Draws (S, m) of a posterior file."""
    posterior = arviz.from_netcdf(path).posterior
    return np.stack([posterior[name].values.ravel() for name in json.loads(posterior.attrs["parameter_names"])], -1)


if __name__ == "__main__":
    main()
