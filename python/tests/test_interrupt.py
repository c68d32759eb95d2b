"""Ctrl-C stops long work within a second, and diagnostics see what is wrong."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tallsbi import diagnostics

WORK = {
    "train": "s = tallsbi.simulate('slcp', n=20000); print('ready', flush=True); tallsbi.train(s)",
    "simulate": "print('ready', flush=True); tallsbi.simulate('jrnmm', n=10_000_000)",
    "python": "print('ready', flush=True); tallsbi.simulate(lambda t: (time.sleep(0.01), t)[1], P, 10**6, workers=2, batch=10)",
}


@pytest.mark.parametrize("work", WORK)
def test_interrupts(work):
    # Whoever runs the tests in the background may have them ignore the signal, which processes inherit.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}\nimport tallsbi, time\nP = tallsbi.Prior({{'a': tallsbi.Normal(0, 1)}})\n{WORK[work]}"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.0)
        assert process.poll() is None
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert "KeyboardInterrupt" in error and time.monotonic() - start < 3.0


def test_checks_of_foreign_posteriors():
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(400, 2))
    x = theta[:, None, :] + rng.normal(size=(400, 3, 2))

    def draws(x, width, count):
        return x.sum(1)[:, None] / 4 + width * 0.5 * rng.normal(size=(len(x), count, 2))

    for width, right in [(1.0, True), (0.5, False)]:
        drawn = draws(x, width, 50)
        sbc, coverage = diagnostics.sbc(theta, drawn), diagnostics.coverage(theta, drawn)
        assert (sbc.p_value > 0.005) == right and (coverage.p_value > 0.005) == right
        assert sbc.ranks.shape == (2, 400) and coverage.levels.shape == coverage.coverage.shape
        local = diagnostics.local_c2st(theta, drawn[:, 0], x, x[0], draws(x[:1], width, 200)[0], trials=19)
        assert len(local.null_statistics) == 19 and (local.p_value > 0.05 or not right)
    p = rng.normal(size=(300, 2))
    assert diagnostics.c2st(p, rng.normal(size=(300, 2))).accuracy < 0.6 < 0.8 < diagnostics.c2st(p, p + 3).accuracy
    assert abs(diagnostics.mmd(p, rng.normal(size=(300, 2))).squared) < 0.02 < diagnostics.mmd(p, p + 1).squared
    assert abs(diagnostics.sliced_wasserstein(p, p + [3.0, 4.0]).value - 5 / 2**0.5) < 0.2
    with pytest.raises(ValueError, match="draws"):
        diagnostics.sbc(theta, np.zeros((3, 10, 2)))
