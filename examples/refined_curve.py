"""How a refined posterior fares as n grows: C2ST against exact posteriors, and z of the true parameters, over prior draws.

    python examples/refined_curve.py curve.csv --tasks sir,lotka_volterra --n 10,100,1000 --draws 20

A line a task, n and draw; what the file has is not done again. Needs `tallsbi` on the path (or --tallsbi), Python's own library only.
"""
import argparse
import csv
import json
import math
import pathlib
import subprocess
import tempfile


def run(program, *arguments):
    """The result of a command as JSON."""
    done = subprocess.run([*program, *map(str, arguments), "--json", "-q"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def measure(program, folder, task, n, seed, budget):
    """One refinement at observations drawn from the prior, against the exact posterior."""
    observations, refined, reference = folder / "obs.h5", folder / "refined.nc", folder / "reference.nc"
    truth = run(program, "observe", task, "--from-prior", "-n", n, "--seed", seed, "-o", observations, "--force")
    arguments = ["--observations", observations, "--force", "--seed", seed]
    run(program, "reference", task, "-o", reference, *arguments)
    limit = ["--budget", budget] if budget else []
    model = folder / "refined.safetensors"
    found = run(program, "refine", "--task", task, "-o", model, "--posterior", refined, *arguments, *limit)
    c2st = run(program, "diagnose", "c2st", refined, "--reference", reference)["value"]
    z = [(mean - true) / sd for mean, sd, true in zip(found["mean"], found["sd"], truth["theta_true"])]
    verdict = found["verdict"]["verdict"]
    return {"c2st": c2st, "z2": sum(v * v for v in z) / len(z), "simulations": found["simulations"], "seconds": found["seconds"], "verdict": verdict}


def summary(rows):
    """Means over the draws."""
    for task, n in sorted({(row["task"], int(row["n"])) for row in rows}):
        own = [row for row in rows if row["task"] == task and int(row["n"]) == n]
        mean = lambda name: sum(float(row[name]) for row in own) / len(own)
        worst, settled = max(float(row["c2st"]) for row in own), sum(row["verdict"] == "settled" for row in own)
        print(f"| {task} | {n} | {len(own)} | {mean('c2st'):.3f} | {worst:.3f} | {math.sqrt(mean('z2')):.2f} | {mean('simulations'):.0f} | {settled} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("--tasks", default="sir,lotka_volterra,slcp,bernoulli_glm")
    parser.add_argument("--n", default="10,100,1000")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--budget", type=int, help="simulations at most; none: what the tolerance asks for")
    parser.add_argument("--tallsbi", default="tallsbi")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    program = [options.tallsbi, "--threads", options.threads]
    program = [str(word) for word in program]
    fields = ["task", "n", "seed", "c2st", "z2", "simulations", "seconds", "verdict"]
    rows = list(csv.DictReader(options.table.open())) if options.table.exists() else []
    known = {(row["task"], row["n"], row["seed"]) for row in rows}
    with options.table.open("a", newline="") as file, tempfile.TemporaryDirectory() as folder:
        writer = csv.DictWriter(file, fields)
        if not rows:
            writer.writeheader()
        for draw in range(options.draws):
            for task in options.tasks.split(","):
                for n in options.n.split(","):
                    seed = options.first_seed + draw
                    if (task, n, str(seed)) in known:
                        continue
                    try:
                        found = measure(program, pathlib.Path(folder), task, n, seed, options.budget)
                    except RuntimeError as error:
                        print(f"{task} n={n} seed={seed}: {error}")
                        continue
                    rows.append({"task": task, "n": n, "seed": seed, **found})
                    writer.writerow(rows[-1])
                    file.flush()
    print("| task | n | draws | C2ST | worst | rms z | simulations | settled |\n|---|---|---|---|---|---|---|---|")
    summary(rows)


if __name__ == "__main__":
    main()
