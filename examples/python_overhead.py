"""What Python costs: the same simulation, training and sampling from Python and by the command line, in turns; and a simulator in NumPy, alone and through tallsbi.

pip install the wheel of tools/wheel; then: python examples/python_overhead.py target/release/tallsbi
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tallsbi

TURNS = 3
SIMULATED, TRAINED, EPOCHS, OBSERVED, DRAWS = 1_000_000, 10_000, 5, 30, 5000
NUMPY_ROWS, BATCH = 2_000_000, 10_000


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median(ours, theirs):
    """Medians of both, in turns: what else runs on the machine meets both."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(TURNS)]
    return [statistics.median(side) for side in zip(*pairs)]


def say(what, ours, theirs):
    print(f"| {what} | {ours:.2f} s | {theirs:.2f} s | {100 * (ours / theirs - 1):+.1f} % |", flush=True)


def against_command_line(binary, folder):
    run = lambda *words: subprocess.run([binary, "-q", *map(str, words)], check=True, cwd=folder)  # noqa: E731
    made = {}

    def simulate():
        made["rows"] = tallsbi.simulate("sir", n=SIMULATED, progress=False)

    say(f"simulate sir, {SIMULATED} rows", *median(simulate, lambda: run("simulate", "sir", "-n", SIMULATED, "-o", "rows.h5", "--force")))
    rows = tallsbi.simulate("sir", n=TRAINED, progress=False)
    run("simulate", "sir", "-n", TRAINED, "-o", "train.h5")

    def train():
        made["model"] = tallsbi.train(rows, epochs=EPOCHS, progress=False)

    words = ["train", "train.h5", "-o", "model.safetensors", "--epochs", EPOCHS, "--force"]
    say(f"train, {TRAINED} rows, {EPOCHS} epochs", *median(train, lambda: run(*words)))
    run("observe", "sir", "--from-prior", "-n", OBSERVED, "-o", "obs.h5")
    x = tallsbi.observe("sir", n=OBSERVED, seed=0).x
    words = ["sample", "model.safetensors", "--observations", "obs.h5", "--samples", DRAWS, "-o", "posterior.nc", "--force"]
    say(f"sample, n = {OBSERVED}, {DRAWS} draws", *median(lambda: made["model"].posterior(x).sample(DRAWS), lambda: run(*words)))


def simulator(theta, rng):
    """Mean and deviation of ten waiting times."""
    times = rng.exponential(1.0 / theta[:, :1], (len(theta), 10))
    return np.stack([times.mean(1), times.std(1)], 1)


def against_numpy():
    prior = tallsbi.Prior({"rate": tallsbi.LogNormal(0.0, 0.5)})
    theta = prior.sample(NUMPY_ROWS)

    def alone():
        rng = np.random.default_rng(0)
        np.concatenate([simulator(theta[i : i + BATCH], rng) for i in range(0, NUMPY_ROWS, BATCH)])

    def ours(workers):
        return lambda: tallsbi.simulate(simulator, prior, NUMPY_ROWS, batch=BATCH, vectorized=True, workers=workers, progress=False)

    for workers in (1, 2):
        say(f"NumPy in batches of {BATCH}, {NUMPY_ROWS} rows, {workers} workers (against NumPy alone)", *median(ours(workers), alone))


if __name__ == "__main__":
    print("| work | from Python | by the command line | |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        against_command_line(Path(sys.argv[1]).resolve(), folder)
    against_numpy()
