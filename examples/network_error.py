"""Posteriors of many observations that carry the network's own error, beside those that take it for exact: z of the true parameters over prior draws.

    python examples/network_error.py --tasks sir,lotka_volterra --n 10,100,1000,10000 --draws 50

Trains a network a task (30 000 simulations) and prints a line a task and n: the root mean square of (posterior mean - truth)/posterior sd, which is 1 if it is calibrated,
and shares of truths in the central 50 % and 90 % of a Gaussian of this mean and sd. Needs `tallsbi` on the path (or --tallsbi), Python's own library only.
"""
import argparse
import math
import pathlib
import tempfile

from refined_curve import run

CENTRAL = {50: 0.6745, 90: 1.6449}


def scores(program, folder, model, task, n, seed):
    """z of each parameter with the network's error and without, at observations drawn from the prior."""
    observations = folder / "obs.h5"
    truth = run(program, "observe", task, "--from-prior", "-n", n, "--seed", seed, "-o", observations, "--force")["theta_true"]
    found = {}
    for how in ("include", "ignore"):
        arguments = ["--observations", observations, "-o", folder / "posterior.nc", "--force", "--network-error", how]
        sampled = run(program, "sample", model, *arguments)
        found[how] = [(mean - true) / sd for mean, sd, true in zip(sampled["mean"], sampled["sd"], truth)]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="sir,lotka_volterra")
    parser.add_argument("--n", default="10,100,1000,10000")
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--simulations", type=int, default=30_000)
    parser.add_argument("--first-seed", type=int, default=7000)
    parser.add_argument("--tallsbi", default="tallsbi")
    options = parser.parse_args()
    program = [options.tallsbi]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for task in options.tasks.split(","):
            training, model = folder / "train.h5", folder / f"{task}.safetensors"
            run(program, "simulate", task, "-n", options.simulations, "--seed", options.first_seed, "-o", training, "--force")
            run(program, "train", training, "-o", model)
            for n in map(int, options.n.split(",")):
                draws = [scores(program, folder, model, task, n, options.first_seed + draw) for draw in range(options.draws)]
                for how in ("include", "ignore"):
                    z = [value for draw in draws for value in draw[how]]
                    inside = [f"{sum(abs(v) < bound for v in z) / len(z):.0%}" for bound in CENTRAL.values()]
                    print(f"| {task} | {n} | {how} | {math.sqrt(sum(v * v for v in z) / len(z)):.2f} | {' | '.join(inside)} |", flush=True)


if __name__ == "__main__":
    main()
