"""Are neighbouring windows of one recording alike under the Jansen-Rit model itself?

Simulates 200 recordings of 240 s at draws from the prior of jrnmm_3d, cuts each into 30 windows of 8 s, summarises these as recordings are, and tests
their order as `tallsbi` does (docs/recordings.md). Needs numpy, h5py and the command line: python examples/window_order.py [PROGRAM]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

RECORDINGS, WINDOWS, WINDOW, PERMUTATIONS = 200, 30, 1024, 499
SEGMENT, HOP = 65, 32  # of the periodogram


def summary(window):
    window = window - window.mean()
    segments = np.array([window[i : i + SEGMENT] for i in range(0, len(window) - SEGMENT + 1, HOP)])
    return np.log10((np.abs(np.fft.rfft(segments, axis=1)) ** 2).mean(0))


def statistics(ranks, time):
    return np.abs(time @ ranks).max(), (ranks[:-1] * ranks[1:]).sum(0).mean()


def order_test(x, rng):
    """p-values of drift and of neighbours, and the neighbours' mean rank correlation."""
    ranks = x.argsort(0).argsort(0) - (len(x) - 1) / 2
    ranks /= np.linalg.norm(ranks, axis=0)
    time = np.arange(len(x)) - (len(x) - 1) / 2
    time /= np.linalg.norm(time)
    observed = statistics(ranks, time)
    larger = np.ones(2)
    for _ in range(PERMUTATIONS):
        larger += np.array(statistics(ranks[rng.permutation(len(x))], time)) >= observed
    return (*larger / (PERMUTATIONS + 1), observed[1])


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "tallsbi"
    rng = np.random.default_rng(0)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signal.h5"
        for seed in range(RECORDINGS):
            command = f"{program} observe jrnmm_3d --record signal --duration {WINDOWS * 8} --from-prior -n 1 --seed {seed} --force -q -o"
            subprocess.run([*command.split(), path], check=True, stdout=subprocess.DEVNULL)
            with h5py.File(path) as file:
                signal = file["x"][0].astype(float)
            found.append(order_test(np.array([summary(w) for w in signal.reshape(WINDOWS, WINDOW)]), rng))
    trend, neighbours, correlation = np.array(found).T
    print(f"drift: p < 0.05 in {np.mean(trend < 0.05):.1%}, neighbours: in {np.mean(neighbours < 0.05):.1%} of {RECORDINGS} recordings")
    print(f"neighbours' rank correlation {correlation.mean():.3f} +- {correlation.std() / RECORDINGS**0.5:.3f}; {-1 / (WINDOWS - 1):.3f} if independent")


if __name__ == "__main__":
    main()
