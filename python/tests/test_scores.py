"""Models that learned scores: compositions against exact posteriors, and the networks of the paper's authors."""

import os
from pathlib import Path

import numpy as np
import pytest
import tallsbi

DATA = Path(os.environ.get("TALLSBI_REFERENCE_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture(scope="module")
def trained():
    return tallsbi.train(tallsbi.simulate("gaussian_linear", n=20_000), architecture="anchored", epochs=3, hidden=[32], progress=False)


@pytest.fixture(scope="module")
def published():
    path = DATA / "networks" / "gaussian_linear" / "n30000.safetensors"
    if not path.exists():
        pytest.skip(f"skipped: no networks at {DATA}; set TALLSBI_REFERENCE_DATA")
    return tallsbi.Model.load(path)


@pytest.fixture(scope="module")
def given():
    """Observations of ten Gaussian values, with mean and sd of the exact posterior."""
    theta, x = tallsbi.observe("gaussian_linear", n=8, seed=0)
    samples = tallsbi.reference("gaussian_linear", x, 4000).samples
    return x, samples.mean(0), samples.std(0)


METHODS = {"gauss": {}, "jac": {"method": "jac"}, "fnpe": {"method": "fnpe"}}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", ["trained", "published"])
def test_compositions_are_near_the_exact_posterior(network, method, given, request):
    model, (x, mean, sd) = request.getfixturevalue(network), given
    samples = model.posterior(x).sample(100, **METHODS[method])
    z, ratio = (samples.mean(0) - mean) / sd, samples.std(0) / sd

    assert np.sqrt((z**2).mean()) < 0.7 and 0.5 < ratio.min() and ratio.max() < 1.5


def test_published_networks_load(published):
    assert published.architecture == "noise" and published.info["task"] == "gaussian_linear"
    loaded = {}
    for path in sorted((DATA / "networks").glob("*/*.safetensors")):
        if not path.parent.name.startswith("bernoulli_glm"):  # Their files do not say their prior.
            loaded[f"{path.parent.name}/{path.stem}"] = tallsbi.Model.load(path)
    assert len(loaded) > 20
    for name in ["jrnmm/3d", "slcp/n30000", "slcp/n30000_pf6", "sir/n30000_cfg"]:
        model = loaded[name]
        x = tallsbi.observe(model.info["task"], n=6).x
        samples = model.posterior(x).sample(20)
        assert samples.shape == (20, len(model.names)) and np.isfinite(samples).all(), name
    # Ours in the same bytes.
    again = tallsbi.Model.from_bytes(published.to_bytes())
    x = tallsbi.observe("gaussian_linear", n=4).x
    np.testing.assert_array_equal(again.posterior(x).sample(20), published.posterior(x).sample(20))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_method_and_sampler_is_its_own(trained, given):
    posterior = trained.posterior(given[0])
    settings = [*METHODS.values(), {"sampler": "ddim"}, {"sampler": "langevin", "steps": 20}, {"steps": 7}]
    drawn = [posterior.sample(20, **one) for one in settings]
    for i, one in enumerate(drawn):
        assert all(not np.array_equal(one, other) for other in drawn[:i]), settings[i]
