"""Does a recording of known parameters, written as a lab's amplifier writes it, come back with them?

Draws parameters of jrnmm_3d from the prior, simulates 80 s (10 windows of the model's) of the signal at 160, 250 or 500 Hz, writes it in microvolts as EDF (edfio or pyedflib), BDF
or BrainVision (pybv), samples the posterior of the file, and counts how often each parameter lies in the central 90 % (docs/recordings.md). Beside it the same
parameters with as many summaries as the simulator itself makes them: what the model does without files. Needs numpy, scipy, h5py, edfio, pyedflib, pybv and the
command line:

    tallsbi simulate jrnmm_3d -n 300000 -o train.h5
    tallsbi train train.h5 -o model.safetensors
    python examples/recordings_coverage.py model.safetensors [--program tallsbi] [--files 50] [--windows 10] [--frequencies 1..30]
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import edfio
import h5py
import numpy as np
import pybv
import pyedflib
from scipy.stats import binomtest

WINDOW = 8.0  # s, the model's
# Hz, and a step of the solver that its period is a multiple of, about the model's 1/1024 s.
RATES = {160: 1 / 1280, 250: 1 / 1000, 500: 1 / 1000}
CENTRAL = (0.05, 0.95)
BDF_LIMITS = (-(2**23), 2**23 - 1)


def write_edf(folder, values, rate):
    path = folder / "recording.edf"
    edfio.Edf([edfio.EdfSignal(values, rate, label="EEG Oz", physical_dimension="uV")]).write(path)
    return path


def write_pyedf(folder, values, rate, bdf=False):
    path = folder / ("recording.bdf" if bdf else "recording.edf")
    kind = pyedflib.FILETYPE_BDFPLUS if bdf else pyedflib.FILETYPE_EDFPLUS
    with pyedflib.EdfWriter(str(path), 1, file_type=kind) as file:
        low, high = BDF_LIMITS if bdf else (-(2**15), 2**15 - 1)
        largest = float(np.ceil(np.abs(values).max()))
        header = {"label": "Oz", "dimension": "uV", "sample_frequency": rate, "physical_min": -largest, "physical_max": largest}
        file.setSignalHeaders([{**header, "digital_min": low, "digital_max": high, "transducer": "", "prefilter": ""}])
        file.writeSamples([values])
    return path


def write_bdf(folder, values, rate):
    return write_pyedf(folder, values, rate, bdf=True)


def write_brainvision(folder, values, rate):
    # Takes volts, and writes microvolts.
    pybv.write_brainvision(data=values[None] * 1e-6, sfreq=rate, ch_names=["Oz"], fname_base="recording", folder_out=str(folder), unit="µV")
    return folder / "recording.vhdr"


FORMATS = {"EDF": write_edf, "BDF": write_bdf, "BrainVision": write_brainvision, "EDF+": write_pyedf}


def run(command, *paths):
    subprocess.run([*command.split(), *map(str, paths)], check=True, stdout=subprocess.DEVNULL)


def shares(program, model, observations, folder, options):
    """Names of the parameters, and the share of draws below each true value."""
    path = folder / "posterior.nc"
    run(f"{program} sample {model} --samples 200 {options} --force -q --observations", observations, "-o", path)
    with h5py.File(path) as file:
        names = [name for name in file["posterior"] if name not in ("chain", "draw")]
        return {name: file[f"posterior/{name}"][:].ravel() for name in names}


def drawn(program, folder, seed, options):
    path = folder / "observed.h5"
    run(f"{program} observe jrnmm_3d --seed {seed} {options} --force -q -o", path)
    with h5py.File(path) as file:
        return path, file["theta_true"][:].ravel(), file["x"][:]


def one_file(program, model, seed, options, windows):
    """Whether and how far each parameter lies from the posteriors of a file and of summaries: (name, sources, below)."""
    rate = list(RATES)[seed % len(RATES)]
    kind = list(FORMATS)[seed // len(RATES) % len(FORMATS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long = f"--from-prior -n 1 --record signal --duration {WINDOW * windows} --sampling-rate {rate} --step {RATES[rate]}"
        _, theta, signal = drawn(program, folder, seed, long)
        file = FORMATS[kind](folder, 1000.0 * signal[0].astype(float), rate)
        of_file = shares(program, model, file, folder, options)
        at = "--theta " + ",".join(map(str, theta))
        summaries, _, _ = drawn(program, folder, seed + 10_000, f"{at} -n {windows}")
        of_summaries = shares(program, model, summaries, folder, "")
    names = ("C", "mu", "sigma")
    below = {source: [float((draws[n] < t).mean()) for n, t in zip(names, theta)] for source, draws in (("file", of_file), ("summaries", of_summaries))}
    z = [(t - of_file[n].mean()) / of_file[n].std() for n, t in zip(names, theta)]
    print(f"{seed:3} {kind:11} {rate} Hz  theta {np.round(theta, 1)}  z of the file {np.round(z, 1)}", flush=True)
    return {"rate": rate, "kind": kind, **{source: np.array(b) for source, b in below.items()}}


def report(label, below):
    inside = ((below > CENTRAL[0]) & (below < CENTRAL[1])).sum(0)
    for name, count in zip(("C", "mu", "sigma"), inside):
        interval = binomtest(int(count), len(below)).proportion_ci(0.95)
        print(f"{label:22} {name:6} {count} of {len(below)} in the central 90 % (95 % interval {interval.low:.0%} to {interval.high:.0%})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--program", default="tallsbi")
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--frequencies")
    arguments = parser.parse_args()
    options = f"--frequencies {arguments.frequencies}" if arguments.frequencies else ""
    found = [one_file(arguments.program, arguments.model, seed, options, arguments.windows) for seed in range(arguments.files)]
    report("files", np.array([one["file"] for one in found]))
    report("simulator's summaries", np.array([one["summaries"] for one in found]))
    for key, values in (("rate", RATES), ("kind", FORMATS)):
        for value in values:
            of = [one["file"] for one in found if one[key] == value]
            if of:
                inside = [(CENTRAL[0] < b) & (b < CENTRAL[1]) for b in of]
                print(f"{value}: {np.sum(inside)} of {np.size(inside)} parameters of {len(of)} files")


if __name__ == "__main__":
    main()
