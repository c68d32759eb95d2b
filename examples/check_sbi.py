"""Checks a posterior that sbi learned (NPE, two moons) by tallsbi's diagnostics and by sbi's own: answers and seconds.

pip install sbi h5py and the wheel of tools/wheel; then: python examples/check_sbi.py FOLDER. What it writes into FOLDER the command line takes:
tallsbi diagnose sbc --posterior-draws FOLDER/draws.npy --calibration FOLDER/pairs.h5
"""

import sys
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

ROWS, PAIRS, DRAWS, LOCAL_PAIRS, TRIALS = 10_000, 500, 100, 4000, 100
QUIET = {"show_progress_bars": False}


def timed(work):
    """What `work()` gives, and its seconds."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def tensor(array):
    return torch.as_tensor(np.asarray(array), dtype=torch.float32)


def learn():
    """sbi's posterior of two moons."""
    prior = BoxUniform(-torch.ones(2), torch.ones(2))
    theta, x = tallsbi.simulate("two_moons", n=ROWS, seed=0)
    inference = NPE(prior, show_progress_bars=False).append_simulations(tensor(theta), tensor(x))
    inference.train()
    return inference.build_posterior()


def draws(posterior, x, count):
    """Draws (N, count, m) of sbi's posterior given each row of x (N, d)."""
    return posterior.sample_batched((count,), x=tensor(x), **QUIET).numpy().swapaxes(0, 1)


def say(what, ours, theirs):
    print(f"| {what} | {ours[0]} ({ours[1]:.2f} s) | {theirs[0]} ({theirs[1]:.2f} s) |")


def check_ranks(posterior, theta, x, drawn):
    found, seconds = timed(lambda: diagnostics.sbc(theta, drawn))
    pair = (tensor(theta), tensor(x), posterior)
    options = {"num_posterior_samples": DRAWS, "show_progress_bar": False}
    (ranks, dap), _ = timed(lambda: run_sbc(*pair, **options))
    theirs, of_sbi = timed(lambda: check_sbc(ranks, tensor(theta), dap, num_posterior_samples=DRAWS))
    p = ", ".join(f"{value:.3f}" for value in found.p_values)
    say("SBC, p of each parameter", (p, seconds), (", ".join(f"{float(value):.3f}" for value in theirs["ks_pvals"]), of_sbi))
    found, seconds = timed(lambda: diagnostics.coverage(theta, drawn))
    curve, _ = timed(lambda: run_tarp(*pair, **options))
    (area, p), of_sbi = timed(lambda: check_tarp(*curve))
    say("TARP, p (area)", (f"{found.p_value:.3f} ({found.area_to_curve:+.3f})", seconds), (f"{float(p):.3f} ({float(area):+.3f})", of_sbi))


def check_locally(theta, theta_q, x, x_obs, samples):
    found, seconds = timed(lambda: diagnostics.local_c2st(theta, theta_q, x, x_obs, samples, trials=TRIALS))

    def of_sbi():
        test = LC2ST(prior_samples=tensor(theta), xs=tensor(x), posterior_samples=tensor(theta_q), num_trials_null=TRIALS)
        test.train_on_observed_data()
        test.train_under_null_hypothesis()
        return float(test.p_value(tensor(samples), tensor(x_obs)))

    p, slower = timed(of_sbi)
    say("local C2ST, p", (f"{found.p_value:.3f}", seconds), (f"{p:.3f}", slower))


def main(folder):
    print(f"sbi {sbi.__version__}, torch {torch.__version__.split('+')[0]}, tallsbi; {PAIRS} pairs of {DRAWS} draws, local C2ST {LOCAL_PAIRS} pairs, {TRIALS} trials")
    posterior, seconds = timed(learn)
    print(f"NPE trained on {ROWS} rows in {seconds:.0f} s")
    simulations = tallsbi.simulate("two_moons", n=LOCAL_PAIRS, seed=1)
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
    print("| check | tallsbi | sbi |\n|---|---|---|")
    check_ranks(posterior, theta[:PAIRS], x[:PAIRS], drawn)
    check_locally(theta, one, x, x_obs, samples)
    reference = tallsbi.reference("two_moons", x_obs, 1000).samples
    found, seconds = timed(lambda: diagnostics.c2st(reference, samples))
    # sbi's default is a random forest; the same network on both sides says the same thing.
    theirs, slower = timed(lambda: float(c2st(tensor(reference), tensor(samples), classifier="mlp")))
    say("C2ST against the exact posterior", (f"{found.accuracy:.3f}", seconds), (f"{theirs:.3f}", slower))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/check-sbi"))
