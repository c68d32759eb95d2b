"""Our diagnostics beside scikit-learn, NumPy/SciPy, POT and sbi, on the same data in the same run.

    cargo build --release -p tallsbi-diagnostics --example speed
    python diagnostics/benches/compare_sklearn.py target/release/examples/speed [task ...]

Needs a Python (not of this repository) with numpy, scipy, scikit-learn and POT, and sbi for the local C2ST (without it, the
scikit-learn networks that sbi trains are timed alone). The two sides take turns, each is timed
several times, and the best times are compared. CPU time (all threads of a side) is given beside wall time: on a busy machine
only the former means much, on an idle one the latter also has the gain of our threads. REPEATS and N_OBS are read from the
environment.
"""

import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")
ROWS = 10_000


def c2st(data):
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neural_network import MLPClassifier

    x, y = data["x"], data["y"]
    mean, sd, dim = x.mean(0), x.std(0, ddof=1), x.shape[1]
    rows = np.concatenate([(x - mean) / sd, (y - mean) / sd])
    labels = np.concatenate([np.zeros(len(x)), np.ones(len(y))])
    network = MLPClassifier(hidden_layer_sizes=(10 * dim, 10 * dim), max_iter=10_000, random_state=1)
    return cross_val_score(network, rows, labels, cv=KFold(5, shuffle=True, random_state=1)).mean()


def mmd(data):
    from scipy.spatial.distance import cdist, pdist

    x, y = data["x"], data["y"]
    distances = pdist(x)
    sigma = np.partition(distances, (len(distances) - 1) // 2)[(len(distances) - 1) // 2]

    def kernel_sum(squared):
        squared *= -0.5 / sigma**2
        return np.exp(squared, out=squared).sum()

    n, m = len(x), len(y)
    within_x = 2 * kernel_sum(distances**2) / (n * (n - 1))
    within_y = 2 * kernel_sum(pdist(y, "sqeuclidean")) / (m * (m - 1))
    return within_x + within_y - 2 * kernel_sum(cdist(x, y, "sqeuclidean")) / (n * m)


def sliced_wasserstein(data):
    import ot

    return ot.sliced_wasserstein_distance(data["x"], data["y"], n_projections=1000, seed=0)


def local_c2st(data):
    """sbi's l-C2ST: the observed classifier and one null trial; the two stand for all 101, as each takes equally long."""
    import torch
    from sbi.diagnostics.lc2st import LC2ST

    theta, theta_q, x = (torch.tensor(data[name], dtype=torch.float32) for name in ("theta", "theta_q", "context"))
    test = LC2ST(theta, x, theta_q, seed=1, z_score=True, num_trials_null=1)
    test.train_on_observed_data()
    test.train_under_null_hypothesis()
    return test.get_statistic_on_observed_data(theta_q[:1000], x[:1])


def local_c2st_sklearn(data, trials=2):
    """What sbi's l-C2ST runs inside, for machines without sbi: a scikit-learn network for each trial."""
    from sklearn.neural_network import MLPClassifier

    theta, theta_q, x = data["theta"], data["theta_q"], data["context"]
    width = 10 * theta.shape[1]
    generator = np.random.default_rng(0)
    for trial in range(trials):
        exchange = generator.random(len(theta)) < 0.5
        a, b = np.where(exchange[:, None], theta, theta_q), np.where(exchange[:, None], theta_q, theta)
        rows = np.concatenate([np.hstack([a, x]), np.hstack([b, x])])
        rows = (rows - rows.mean(0)) / rows.std(0)
        labels = np.concatenate([np.zeros(len(a)), np.ones(len(b))])
        MLPClassifier(
            hidden_layer_sizes=(width, width), max_iter=1000, early_stopping=True, n_iter_no_change=50, random_state=trial
        ).fit(rows, labels)
    return float("nan")


TASKS = {
    "c2st": (c2st, 1),
    "mmd": (mmd, 1),
    "sliced-wasserstein": (sliced_wasserstein, 1),
    "local-c2st": (local_c2st if importlib.util.find_spec("sbi") else local_c2st_sklearn, 101 / 2),
}


def make_data(n_obs):
    generator = np.random.default_rng(0)
    data = {"x": generator.normal(size=(ROWS, 5)), "y": generator.normal(size=(ROWS, 5)) * 1.2 + 0.1}
    theta = generator.normal(size=(ROWS, 4))
    design = generator.normal(size=(4, 33))
    noise = generator.normal(size=(ROWS, n_obs, 33))
    data["theta"] = theta
    data["context"] = ((theta @ design)[:, None] + 3 * noise).reshape(ROWS, n_obs * 33)
    precision = np.eye(4) + n_obs * design @ design.T / 9
    covariance = np.linalg.inv(precision)
    mean = (data["context"].reshape(ROWS, n_obs, 33).sum(1) @ design.T / 9) @ covariance
    data["theta_q"] = mean + generator.normal(size=(ROWS, 4)) @ np.linalg.cholesky(covariance).T
    return data


def main():
    program, tasks = sys.argv[1], sys.argv[2:] or list(TASKS)
    repeats = int(os.environ.get("REPEATS", "2"))
    data = make_data(int(os.environ.get("N_OBS", "1")))
    with tempfile.TemporaryDirectory() as directory:
        for name, matrix in data.items():
            matrix.astype("<f8").tofile(os.path.join(directory, name + ".f64"))
            with open(os.path.join(directory, name + ".columns"), "w") as file:
                file.write(str(matrix.shape[1]))
        print("| task | tallsbi wall (CPU) | Python wall (CPU) | ratio wall (CPU) | values |\n|---|---|---|---|---|")
        for task in tasks:
            python, factor = TASKS[task]
            ours, theirs = [], []
            for _ in range(repeats):
                before = cpu_of_children()
                result = json.loads(subprocess.check_output([program, directory, task]))
                ours.append((result["seconds"], cpu_of_children() - before))
                start, cpu = time.perf_counter(), time.process_time()
                value = python(data)
                theirs.append((factor * (time.perf_counter() - start), factor * (time.process_time() - cpu)))
            (wall, cpu), (their_wall, their_cpu) = (map(min, zip(*runs)) for runs in (ours, theirs))
            print(
                f"| {task} | {wall:.2f} s ({cpu:.2f}) | {their_wall:.2f} s ({their_cpu:.2f}) "
                f"| {their_wall / wall:.1f} ({their_cpu / cpu:.1f}) | {result['value']:.5f}, {value:.5f} |",
                flush=True,
            )


def cpu_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
