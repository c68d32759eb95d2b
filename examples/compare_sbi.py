"""tallsbi and sbi (PyPI) side by side: time to a trained model and to 1000 samples, and C2ST to the exact posterior.

    python examples/compare_sbi.py TASK [--sets 3] [--their-sets 3] [--rows 30000] [--n-obs 1 30] [--central] [--tallsbi PROGRAM]

Both get the same simulations, with their defaults: `tallsbi train` and `tallsbi sample`; sbi's NLE (a masked autoregressive flow, sampled by its
slice sampler) and, given one observation, NPE, whose network takes no more than one; of tasks with a choice among their values sbi's MNLE in place of both. sbi gets parameters whose
prior is normal or uniform (the logarithm of log-normal ones), and the logarithm of x where the task has `x_transform = "log"`. Observations are at new draws from the prior, with
`--central` between the quartiles of each parameter; `tallsbi reference` is exact. Run it alone: it times. Needs numpy, h5py, scipy, torch, sbi 0.27.
"""
import argparse
import contextlib
import io
import json
import subprocess
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from sbi.inference import MNLE, NLE, NPE
from sbi.utils import BoxUniform, process_prior
from scipy import stats
from torch.distributions import MultivariateNormal

SAMPLES = 1000
FEW = 10
"""Different values of a column of whole numbers that is a choice."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("--sets", type=int, default=3, help="sets of observations")
    parser.add_argument("--their-sets", type=int, help="sets that sbi samples too (default: all)")
    parser.add_argument("--central", action="store_true", help="parameters between the quartiles of the prior")
    parser.add_argument("--rows", type=int, default=30_000, help="simulations to train on")
    parser.add_argument("--n-obs", type=int, nargs="+", default=[1, 30], help="numbers of observations")
    parser.add_argument("--tallsbi", default="tallsbi", help="the program")
    return parser.parse_args()


class Task:
    """A task's simulations as sbi wants them."""

    def __init__(self, path):
        with h5py.File(path) as file:
            self.prior = json.loads(file.attrs["prior"])
            self.log_x = file.attrs.get("x_transform", "") == "log"
            theta, x = file["theta"][:], file["x"][:]
        kinds = {parameter["dist"] for parameter in self.prior}
        if kinds not in ({"uniform"}, {"lognormal"}):
            raise SystemExit(f"priors of kinds {sorted(kinds)} are not translated: uniform or log-normal ones are")
        self.log_theta = kinds != {"uniform"}
        whole = [np.all(column == np.round(column)) and len(np.unique(column)) <= FEW for column in x.T]
        # MNLE takes choices last.
        self.order, self.mixed = np.argsort(whole, kind="stable"), any(whole) and not all(whole)
        theta, x = self.parameters(theta), self.observations(x)
        good = torch.isfinite(x).all(1)
        self.theta, self.x = theta[good], x[good]

    def parameters(self, theta):
        return torch.tensor(np.log(theta) if self.log_theta else theta, dtype=torch.float32)

    def observations(self, x):
        return torch.tensor((np.log(x) if self.log_x else x)[:, self.order], dtype=torch.float32)

    def central(self, rng):
        """Parameters between their quartiles."""
        at = rng.uniform(0.25, 0.75, len(self.prior))
        if self.log_theta:
            return [stats.lognorm.ppf(u, p["scale"], scale=np.exp(p["loc"])) for u, p in zip(at, self.prior)]
        return [p["low"] + u * (p["high"] - p["low"]) for u, p in zip(at, self.prior)]

    def sbi_prior(self):
        def column(name):
            return torch.tensor([parameter[name] for parameter in self.prior], dtype=torch.float32)

        if self.log_theta:
            return process_prior(MultivariateNormal(column("loc"), torch.diag(column("scale") ** 2)))[0]
        return BoxUniform(column("low"), column("high"))

    def given(self, samples):
        """Samples in the task's own parameters."""
        return np.exp(samples) if self.log_theta else samples


class Nowhere:
    """Where sbi is to log its training: by default it writes a folder `sbi-logs` into the current directory."""

    log_dir = None

    def log_metric(self, *given, **named):
        pass

    log_metrics = log_params = add_figure = flush = log_metric


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder))


def compare(options, folder):
    def run(*words):
        start = time.perf_counter()
        result = subprocess.run([options.tallsbi, *map(str, words)], cwd=folder, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(result.stderr)
        return time.perf_counter() - start, result.stdout

    def c2st(samples, reference):
        return json.loads(run("diagnose", "c2st", samples, "--reference", reference, "--json")[1])["value"]

    run("simulate", options.task, "-n", options.rows, "--seed", 1, "-o", "train.h5", "-q")
    task = Task(folder / "train.h5")
    sizes, observed = options.n_obs, {}
    for index in range(options.sets):
        seed = 7000 + index
        theta = ",".join(map(str, task.central(np.random.default_rng(seed))))
        at = [f"--theta={theta}"] if options.central else ["--from-prior"]
        run("observe", options.task, *at, "--seed", seed, "-n", max(sizes), "-o", f"obs{index}.h5")
        with h5py.File(folder / f"obs{index}.h5") as file:
            observed[index] = task.observations(file["x"][:])
        for n in sizes:
            given = ["--observations", f"obs{index}.h5", "--n-obs", n, "--samples", SAMPLES, "-q"]
            run("reference", options.task, *given, "-o", f"exact{index}-{n}.nc")
    print("| method | n | training, s | 1000 samples, s (mean) | C2ST |")
    print("|---|---|---|---|---|")

    def row(name, n, training, results):
        times, scores = zip(*results)
        shown = ", ".join(f"{score:.3f}" for score in scores)
        print(f"| {name} | {n} | {training:.1f} | {np.mean(times):.2f} | {np.mean(scores):.3f} ({shown}) |", flush=True)

    training, _ = run("train", "train.h5", "-o", "model.safetensors", "-q")
    for n in sizes:
        results = []
        for index in range(options.sets):
            given = ["--observations", f"obs{index}.h5", "--n-obs", n, "--samples", SAMPLES, "-q"]
            seconds, _ = run("sample", "model.safetensors", *given, "-o", "ours.nc", "--force")
            results.append((seconds, c2st("ours.nc", f"exact{index}-{n}.nc")))
        row("tallsbi", n, training, results)

    theirs = [("sbi MNLE", MNLE, sizes)] if task.mixed else [("sbi NPE", NPE, [n for n in sizes if n == 1]), ("sbi NLE", NLE, sizes)]
    sets = options.sets if options.their_sets is None else options.their_sets
    for name, method, counts in theirs if sets else []:
        torch.manual_seed(0)
        inference = method(prior=task.sbi_prior(), tracker=Nowhere())
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            inference.append_simulations(task.theta, task.x).train()
        training = time.perf_counter() - start
        posterior = inference.build_posterior()
        for n in counts:
            results = []
            for index in range(sets):
                start = time.perf_counter()
                samples = posterior.sample((SAMPLES,), x=observed[index][:n], show_progress_bars=False).numpy()
                seconds = time.perf_counter() - start
                np.savetxt(folder / "theirs.csv", task.given(samples), delimiter=",")
                results.append((seconds, c2st("theirs.csv", f"exact{index}-{n}.nc")))
            row(name, n, training, results)


if __name__ == "__main__":
    main()
