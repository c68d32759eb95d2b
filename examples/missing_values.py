"""Is a posterior as right where values are missing as where there are fewer?

Draws parameters of lotka_volterra from the prior and 30 observations at each, takes away 30 % of the values at random, and compares the posterior of a trained
model with the exact one of the values that are left (`tallsbi reference` integrates over the others), by C2ST; beside it the same of as many values in 21 complete
observations (docs/trials.md). Needs numpy, h5py and the command line:

    tallsbi simulate lotka_volterra -n 30000 -o train.h5
    tallsbi train train.h5 -o model.safetensors
    python examples/missing_values.py model.safetensors [PROGRAM] [SETS]
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

TASK, N, MISSING = "lotka_volterra", 30, 0.3


def run(command):
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def mean_sd(path):
    with h5py.File(path) as file:
        draws = [file[f"posterior/{name}"][:].ravel() for name in ("alpha", "beta", "gamma", "delta")]
    return np.mean(draws, 1), np.std(draws, 1)


def compare(program, model, observations, folder):
    """C2ST to the exact posterior, and the largest distance of the means in exact standard deviations."""
    exact, own = f"{folder}/exact.nc", f"{folder}/own.nc"
    run(f"{program} reference {TASK} --observations {observations} --samples 2000 --force -q -o {exact}")
    run(f"{program} sample {model} --observations {observations} --samples 2000 --force -q -o {own}")
    accuracy = json.loads(run(f"{program} diagnose c2st {own} --reference {exact} --json -q"))["value"]
    (mean, sd), (found, _) = mean_sd(exact), mean_sd(own)
    return accuracy, np.abs((found - mean) / sd).max()


def main():
    model, program, sets = sys.argv[1], (sys.argv[2:] + ["tallsbi"])[0], int((sys.argv[3:] + [6])[0])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "observations.h5"
        for seed in range(1, sets + 1):
            run(f"{program} observe {TASK} --from-prior -n {N} --seed {seed} --force -q -o {path}")
            with h5py.File(path) as file:
                x = file["x"][:]
            hidden = x.copy()
            hidden.ravel()[np.random.default_rng(seed).permutation(x.size)[: round(MISSING * x.size)]] = np.nan
            complete = x[: round((1 - MISSING) * N)]
            row = []
            for name, values in (("missing", hidden), ("complete", complete)):
                np.save(Path(folder) / f"{name}.npy", values)
                row += compare(program, model, Path(folder) / f"{name}.npy", folder)
            found.append(row)
            print(f"set {seed}: missing C2ST {row[0]:.3f} (means off by {row[1]:.2f} sd at most), complete {row[2]:.3f} ({row[3]:.2f})", flush=True)
    mean, worst = np.mean(found, 0), np.max(found, 0)
    print(f"mean (worst) of {sets}: missing C2ST {mean[0]:.3f} ({worst[0]:.3f}), complete {mean[2]:.3f} ({worst[2]:.3f})")


if __name__ == "__main__":
    main()
