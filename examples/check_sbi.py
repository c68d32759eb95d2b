"""Checks a posterior that sbi learned (NPE, two moons) by tallsbi's diagnostics and by sbi's own: answers, and how many times as long sbi's take.

pip install "sbi>=0.27" h5py and the wheel of tools/wheel; then: python examples/check_sbi.py FOLDER. What it writes into FOLDER the command line takes:
tallsbi diagnose sbc --posterior-draws FOLDER/draws.npy --calibration FOLDER/pairs.h5

Both sides see the same pairs and the same draws. They are checked twice: as sbi drew them, and moved by a third of their standard deviation, which a
check should find.
"""

import argparse
import contextlib
import io
import time
from pathlib import Path

import h5py
import numpy as np
import sbi
import tallsbi
import torch
from sbi.diagnostics import LC2ST, check_sbc, check_tarp, run_sbc, run_tarp
from sbi.inference import NPE
from sbi.utils import BoxUniform
from sbi.utils.metrics import c2st
from tallsbi import diagnostics

PAIRS, DRAWS = 500, 100
QUIET = {"show_progress_bars": False}


def timed(work):
    """What `work()` gives, and its seconds."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def tensor(array):
    return torch.as_tensor(np.asarray(array), dtype=torch.float32)


class Nowhere:
    """Where sbi is to log its training: by default it writes a folder `sbi-logs` into the current directory."""

    log_dir = None

    def log_metric(self, *given, **named):
        pass

    log_metrics = log_params = add_figure = flush = log_metric


class Kept:
    """A posterior whose draws (N, L, m) are there already."""

    def __init__(self, drawn):
        self.drawn = tensor(drawn.swapaxes(0, 1))

    def sample_batched(self, shape, x, **options):
        assert self.drawn.shape[:2] == (*shape, len(x))
        return self.drawn


def learn(rows, epochs):
    """sbi's posterior of two moons."""
    prior = BoxUniform(-torch.ones(2), torch.ones(2))
    theta, x = tallsbi.simulate("two_moons", n=rows, seed=0)
    inference = NPE(prior, show_progress_bars=False, tracker=Nowhere())
    with contextlib.redirect_stdout(io.StringIO()):
        inference.append_simulations(tensor(theta), tensor(x)).train(max_num_epochs=epochs)
    return inference.build_posterior()


def draws(posterior, x, count):
    """Draws (N, count, m) of sbi's posterior given each row of x (N, d)."""
    return posterior.sample_batched((count,), x=tensor(x), **QUIET).numpy().swapaxes(0, 1)


def numbers(values):
    return ", ".join(f"{float(value):.3f}" for value in values)


def say(what, ours, theirs):
    (found, seconds), (of_sbi, slower) = ours, theirs
    print(f"| {what} | {found} | {of_sbi} | {seconds:.2f} s | {slower:.2f} s | {slower / seconds:.2g} |", flush=True)


def check_ranks(name, theta, x, drawn):
    pair = (tensor(theta), tensor(x), Kept(drawn))
    options = {"num_posterior_samples": DRAWS, "show_progress_bar": False}

    def sbc_of_sbi():
        ranks, averaged = run_sbc(*pair, **options)
        return check_sbc(ranks, tensor(theta), averaged, num_posterior_samples=DRAWS)

    found, seconds = timed(lambda: diagnostics.sbc(theta, drawn))
    theirs, slower = timed(sbc_of_sbi)
    say(f"SBC{name}, p of each parameter", (numbers(found.p_values), seconds), (numbers(theirs["ks_pvals"]), slower))
    found, seconds = timed(lambda: diagnostics.coverage(theta, drawn))
    (area, p), slower = timed(lambda: check_tarp(*run_tarp(*pair, **options)))
    say(f"TARP{name}, p (area)", (f"{found.p_value:.3f} ({found.area_to_curve:+.3f})", seconds), (f"{float(p):.3f} ({float(area):+.3f})", slower))


def check_locally(name, trials, theta, theta_q, x, x_obs, samples):
    found, seconds = timed(lambda: diagnostics.local_c2st(theta, theta_q, x, x_obs, samples, trials=trials))

    def of_sbi():
        test = LC2ST(prior_samples=tensor(theta), xs=tensor(x), posterior_samples=tensor(theta_q), num_trials_null=trials)
        test.train_on_observed_data()
        test.train_under_null_hypothesis()
        return float(test.p_value(tensor(samples), tensor(x_obs)))

    with contextlib.redirect_stderr(io.StringIO()):
        p, slower = timed(of_sbi)
    say(f"local C2ST{name}, p", (f"{found.p_value:.3f}", seconds), (f"{p:.3f}", slower))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("out/check-sbi"))
    parser.add_argument("--rows", type=int, default=10_000, help="simulations to train on")
    parser.add_argument("--epochs", type=int, default=2**31 - 1, help="epochs at most; sbi stops by itself")
    parser.add_argument("--local-pairs", type=int, default=4000, help="pairs of the local C2ST")
    parser.add_argument("--trials", type=int, default=100, help="classifiers of its null distribution")
    return parser.parse_args()


def main():
    options = arguments()
    folder = options.folder
    print(f"sbi {sbi.__version__}, torch {torch.__version__.split('+')[0]}; {PAIRS} pairs of {DRAWS} draws, local C2ST {options.local_pairs} pairs, {options.trials} trials", flush=True)
    torch.manual_seed(0)
    posterior = learn(options.rows, options.epochs)
    simulations = tallsbi.simulate("two_moons", n=options.local_pairs, seed=1)
    theta, x = simulations
    one = draws(posterior, x, 1)[:, 0]
    drawn = draws(posterior, x[:PAIRS], DRAWS)
    x_obs = tallsbi.observe("two_moons", n=1, seed=2).x
    samples = draws(posterior, x_obs, 1000)[0]
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "draws.npy", drawn)
    with h5py.File(folder / "pairs.h5", "w") as file:
        file["theta"], file["x"] = theta[:PAIRS], x[:PAIRS]
        file.attrs["prior"] = simulations.prior.to_json()
    print("| check | tallsbi | sbi | tallsbi takes | sbi takes | ratio |\n|---|---|---|---|---|---|", flush=True)
    reference = tallsbi.reference("two_moons", x_obs, 1000).samples
    for name, sds in [("", 0.0), (", moved", 1 / 3)]:
        each = sds * drawn.std(axis=1)
        check_ranks(name, theta[:PAIRS], x[:PAIRS], drawn + each[:, None])
        # The sd of a posterior at each of the many pairs is not known: that of all.
        away = sds * drawn.std(axis=1).mean(axis=0)
        check_locally(name, options.trials, theta, one + away, x, x_obs, samples + away)
        found, seconds = timed(lambda: diagnostics.c2st(reference, samples + away))
        # sbi's default is a random forest; the same network on both sides says the same thing.
        theirs, slower = timed(lambda: float(c2st(tensor(reference), tensor(samples + away), classifier="mlp")))
        say(f"C2ST{name}, against the exact posterior", (f"{found.accuracy:.3f}", seconds), (f"{theirs:.3f}", slower))


if __name__ == "__main__":
    main()
