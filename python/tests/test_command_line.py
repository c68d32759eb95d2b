"""The script `tallsbi` that the wheel installs."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

SCRIPT = [str(Path(sysconfig.get_path("scripts")) / "tallsbi")]
MODULE = [sys.executable, "-m", "tallsbi"]


def run(program, *words, **options):
    return subprocess.run([*program, *map(str, words)], capture_output=True, text=True, **options)


@pytest.mark.parametrize("program", [SCRIPT, MODULE], ids=["script", "module"])
def test_simulates_and_inspects(program, tmp_path):
    made = run(program, "-q", "simulate", "slcp", "-n", 20, "-o", "train.h5", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "") and made.stdout.startswith("train.h5: 20 rows")
    shown = run(program, "inspect", "train.h5", cwd=tmp_path)
    # The command that made the file, as it could be typed again.
    assert shown.returncode == 0 and "tallsbi -q simulate slcp -n 20 -o train.h5" in shown.stdout


def test_same_bytes_as_the_program(tmp_path):
    binary = os.environ.get("TALLSBI_BINARY")
    if not binary:
        pytest.skip("TALLSBI_BINARY is not set")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    written = []
    for name, program in [("script", SCRIPT), ("program", [binary])]:
        folder = tmp_path / name
        folder.mkdir()
        for words in [["simulate", "sir", "-n", 300, "-o", "train.h5", "--seed", 3], ["train", "train.h5", "-o", "model.safetensors", "--epochs", 1, "--hidden", 8, "--members", 1]]:
            assert run(program, "-q", *words, cwd=folder, env=environment).returncode == 0
        version = run(program, "--version").stdout
        written.append((version, (folder / "train.h5").read_bytes(), (folder / "model.safetensors").read_bytes()))
    assert written[0] == written[1] and written[0][0].startswith("tallsbi ")


def test_errors_are_one_line(tmp_path):
    for words, code, part in [
        (["simulate", "slcp", "-n", "3", "-o", "a.h5", "--none"], 2, "--none"),
        (["simulate", "none", "-n", "3", "-o", "a.h5"], 2, "none"),
        (["inspect", "absent.h5"], 1, "absent.h5"),
        (["inspect", "\udcff.h5"], 1, "error: "),  # no UTF-8
    ]:
        found = run(SCRIPT, *words, cwd=tmp_path, errors="replace")
        assert found.returncode == code and found.stdout == ""
        assert found.stderr.count("\n") == 1 and part in found.stderr, found.stderr


def test_a_reader_that_has_seen_enough():
    read, write = os.pipe()
    os.close(read)
    for words in [["tasks"], ["--help"]]:
        found = subprocess.run([*SCRIPT, *words], stdout=write, stderr=subprocess.PIPE)
        assert (found.returncode, found.stderr) == (0, b"")
    os.close(write)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_it_as_they_stop_the_program(sent, tmp_path):
    out = tmp_path / "train.h5"
    # Whoever runs the tests in the background may have them ignore the signal, which processes inherit.
    listen = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    words = ["simulate", "jrnmm", "-n", "10000000", "-o", str(out)]
    process = subprocess.Popen([*SCRIPT, *words], stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    try:
        start = time.monotonic()
        while not list(tmp_path.iterdir()) and time.monotonic() - start < 20:
            time.sleep(0.1)
        process.send_signal(sent)
        _, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130 and "--resume" in error and "Traceback" not in error
