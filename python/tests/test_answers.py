"""Recordings, predictions, comparisons."""

import numpy as np
import pytest
import tallsbi


def edf(path, samples, rate, label="EEG Oz", unit="uV"):
    """An EDF file of one channel in records of 1 s, limits ±3276.8."""
    records = len(samples) // rate
    head = [("0", 8), ("X", 80), ("X", 80), ("01.01.25", 8), ("00.00.00", 8), (512, 8), ("", 44), (records, 8), (1, 8), (1, 4)]
    own = [(label, 16), ("", 80), (unit, 8), (-3276.8, 8), (3276.7, 8), (-32768, 8), (32767, 8), ("", 80), (rate, 8), ("", 32)]
    header = b"".join(str(text).encode().ljust(width) for text, width in head + own)
    path.write_bytes(header + np.round(np.asarray(samples) * 10).astype("<i2").tobytes())


def neural(**options):
    simulations = tallsbi.simulate("jrnmm_3d", n=300, seed=1, **options)
    return tallsbi.train(simulations, epochs=1, hidden=[8], members=1, progress=False)


@pytest.mark.filterwarnings("ignore")
def test_recordings_become_observations(tmp_path):
    path = tmp_path / "a.edf"
    rate = 256
    t = np.arange(26 * rate) / rate
    rng = np.random.default_rng(0)
    edf(path, 50 * np.sin(2 * np.pi * 10 * t) + rng.normal(0, 5, len(t)), rate)
    listed = tallsbi.read_recording(path)
    assert (listed.format, listed.channels[0].label, listed.channels[0].rate) == ("EDF", "EEG Oz", 256.0)
    model = neural()
    windows = tallsbi.summarise_recording(model, path, "oz")
    assert windows.x.shape == (3, 33) and list(windows.starts) == [0.0, 8.0, 16.0]
    # 10 Hz in bins of 128/65 Hz; above 30 Hz powers are left out at this rate, where the simulator has no anti-alias filter.
    assert (np.nanargmax(windows.x, axis=1) == 5).all() and np.isnan(windows.x[:, 16:]).all()
    # A tone of 0.05 mV over 65 samples: (0.05 · 65/2)² = 2.6, less what lies between bins.
    assert np.allclose(windows.x[:, 5], np.log10(2.6), atol=0.2)
    assert model.posterior(windows.x).sample(50).shape == (50, 3)
    # A pickled model knows its window too; one of another window cuts others.
    short = neural(task_options={"recording": {"duration": 4.0}})
    assert tallsbi.summarise_recording(tallsbi.Model.from_bytes(short.to_bytes()), path).x.shape == (6, 33)
    with pytest.raises(ValueError, match="no channel"):
        tallsbi.summarise_recording(model, path, "Pz")
    with pytest.raises(OSError):
        tallsbi.read_recording(tmp_path / "none.edf")


def gaussian(sd, seed=0, n=3000):
    prior = tallsbi.Prior({"mean": tallsbi.Normal(0.0, 1.0)})
    rng = np.random.default_rng(seed)
    theta = prior.sample(n, seed)
    return tallsbi.train(theta, theta + rng.normal(0, sd, (n, 2)), prior, epochs=40, hidden=[16], members=1, progress=False)


@pytest.mark.filterwarnings("ignore")
def test_evidence_prefers_the_right_noise():
    right, wrong = gaussian(0.5), gaussian(1.5)
    x = 0.3 + np.random.default_rng(1).normal(0, 0.5, (20, 2))
    found = tallsbi.compare([right, wrong], x)
    assert found[0].probability > 0.999

    def exact(sd):
        # 40 values with covariance sd² I + 1 1ᵀ.
        cov = sd**2 * np.eye(40) + 1.0
        flat = x.reshape(-1)
        return -0.5 * (flat @ np.linalg.solve(cov, flat) + np.linalg.slogdet(2 * np.pi * cov)[1])

    for evidence, sd in zip(found, (0.5, 1.5)):
        assert abs(evidence.log_evidence - exact(sd)) < 1.5
    with pytest.raises(ValueError):
        tallsbi.compare([right], x)


def test_predictions_show_a_wrong_spread():
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, (50, 2))
    replications = rng.normal(0, [1.0, 3.0], (300, 50, 2))
    checks = {(check.column, check.statistic): check for check in tallsbi.diagnostics.predictive_checks(x, replications)}
    assert checks[1, "sd"].p_value == 1.0 and 0.02 < checks[0, "sd"].p_value < 0.98
    theta = np.array([[0.1, 0.2], [0.3, 0.4]])
    assert tallsbi.predict("two_moons", theta, 4).shape == (2, 4, 2)
    with pytest.raises(ValueError):
        tallsbi.predict("two_moons", theta[:, :1], 4)
