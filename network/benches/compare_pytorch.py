"""Our network engine beside PyTorch on the CPU: forward pass and training step of a 3x256 network, in the same run.

    cargo bench -p tallsbi-network --no-run
    python network/benches/compare_pytorch.py target/release/deps/engine-*[!.d]

Needs a Python (not of this repository) with torch. The two sides take turns; each side's best time counts, PyTorch's over eager
and compiled execution, batch sizes of the forward pass, and Adam's implementations. ROUNDS (default 3) is read from the
environment.
"""

import os
import re
import subprocess
import sys
import time

import torch
from torch import nn

ROWS, BATCH, WIDTHS = 30_000, 256, (19, 256, 256, 256, 5)
NETWORKS = {"ReLU": (nn.ReLU, False), "layer norm, SiLU": (nn.SiLU, True)}


def network(activation, layer_norm):
    layers = []
    for fan_in, fan_out in zip(WIDTHS[:-2], WIDTHS[1:-1]):
        layers += [nn.Linear(fan_in, fan_out)] + [nn.LayerNorm(fan_out)] * layer_norm + [activation()]
    return nn.Sequential(*layers, nn.Linear(*WIDTHS[-2:]))


def best(run, repeats):
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def forward(model):
    """The fastest of several ways to push all rows through, each as (how, seconds)."""
    rows = torch.randn(ROWS, WIDTHS[0])
    ways = []
    with torch.inference_mode():
        for how, run in (("eager", model), ("compiled", torch.compile(model))):
            for size in (1_000, 3_000, ROWS):
                chunks = rows.split(size)
                ways.append((f"{how}, {size} rows at a time", best(lambda: [run(chunk) for chunk in chunks], 15)))
    return min(ways, key=lambda way: way[1])


def training_step(make):
    """The fastest training step: forward, backward, Adam."""
    rows, ways = torch.randn(BATCH, WIDTHS[0]), []
    for compiled in (False, True):
        for kind in ({"foreach": True}, {"fused": True}):
            model = make()
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, **kind)
            loss = torch.compile(lambda rows: model(rows).square().mean()) if compiled else (lambda rows: model(rows).square().mean())

            def step():
                optimizer.zero_grad(set_to_none=True)
                loss(rows).backward()
                optimizer.step()

            how = f"{'compiled' if compiled else 'eager'}, Adam {next(iter(kind))}"
            ways.append((how, best(step, 150)))
    return min(ways, key=lambda way: way[1])


def ours(program, threads):
    """Milliseconds of our forward pass and training step by network, from the table of the bench."""
    text = subprocess.run([program, "--bench"], env=os.environ | {"RAYON_NUM_THREADS": str(threads)}, capture_output=True, text=True, check=True).stdout
    text = text.split(f"threads: {threads}\n")[1].split("threads:")[0]
    found = {}
    for name in NETWORKS:
        short = name.replace("layer norm,", "LN")
        found["forward", name] = float(re.search(rf"forward 3x256 {name}, {ROWS} rows +([\d.]+) ms", text)[1])
        steps = re.findall(rf"training step 3x256 {short}, chunk \d+ +([\d.]+) ms", text)
        found["training step", name] = float(steps[0])
    return found


def main():
    program, rounds = sys.argv[1], int(os.environ.get("ROUNDS", "3"))
    everything = os.cpu_count()
    print(f"PyTorch {torch.__version__}\n")
    print("| threads | network | pass | tallsbi | PyTorch | ratio | PyTorch's way |\n|---|---|---|---|---|---|---|")
    for threads in sorted({1, everything}):
        torch.set_num_threads(threads)
        mine, theirs = {}, {}
        for _ in range(rounds):
            for key, milliseconds in ours(program, threads).items():
                mine[key] = min(milliseconds, mine.get(key, float("inf")))
            for name, kind in NETWORKS.items():
                for what, way in (("forward", forward(network(*kind))), ("training step", training_step(lambda: network(*kind)))):
                    theirs[what, name] = min(way, theirs.get((what, name), way), key=lambda way: way[1])
        for (what, name), milliseconds in mine.items():
            how, seconds = theirs[what, name]
            print(f"| {threads} | {name} | {what} | {milliseconds:.2f} ms | {1e3 * seconds:.2f} ms | {1e3 * seconds / milliseconds:.2f} | {how} |")


main()
