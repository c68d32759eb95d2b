"""ArviZ takes what `to_datatree` gives: the release that this Python has, 1 or one before."""

import numpy as np
import pytest
import tallsbi

pytest.importorskip("xarray", reason="skipped: no xarray here")
arviz = pytest.importorskip("arviz", reason="skipped: no arviz here", exc_type=ImportError)
BEFORE_1 = int(arviz.__version__.split(".")[0]) < 1

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def posterior():
    """Of two parameters, of which the second makes no difference."""
    prior = tallsbi.Prior({"mean": tallsbi.Normal(0.0, 1.0), "other": tallsbi.Normal(0.0, 1.0)})
    simulations = tallsbi.simulate(noisy, prior, 5000, vectorized=True)
    model = tallsbi.train(simulations, epochs=30, hidden=[16], members=1, progress=False)
    return model.posterior(0.4 + np.random.default_rng(1).normal(0.0, 0.5, (12, 2)))


def noisy(theta, rng):
    return rng.normal(theta[..., :1], 0.5, (*theta.shape[:-1], 2))


@pytest.fixture(scope="module")
def tree(posterior):
    return posterior.to_inference_data(1000) if BEFORE_1 else posterior.to_datatree(1000)


def test_summary(posterior, tree):
    table = arviz.summary(tree, round_to="none")
    assert list(table.index) == ["mean", "other"]
    samples = posterior.sample(1000)
    np.testing.assert_allclose(table["mean"], samples.mean(0), rtol=1e-6)
    np.testing.assert_allclose(table["sd"], samples.std(0, ddof=1), rtol=1e-3)
    assert (table["ess_bulk"] > 500).all()


def test_loo(posterior, tree):
    loo = arviz.loo(tree)
    # The density at the best mean, less one for the parameter that was fitted.
    expected = -24 * 0.5 * np.log(2 * np.pi * 0.25) - ((posterior.x - posterior.x.mean()) ** 2).sum() / 0.5 - 1
    elpd = loo.elpd_loo if BEFORE_1 else loo.elpd
    assert abs(elpd - expected) < 1.5 and loo.n_data_points == 12
    assert 0.3 < (loo.p_loo if BEFORE_1 else loo.p) < 3


def test_plot_pair(tree):
    if not BEFORE_1:
        assert arviz.plot_pair(tree, backend="none").viz is not None
        return
    matplotlib = pytest.importorskip("matplotlib", reason="skipped: no matplotlib here")
    matplotlib.use("Agg")
    assert arviz.plot_pair(tree) is not None


def test_posterior_predictive(posterior):
    tree = posterior.to_datatree(300, chains=2, predictive=True, simulator=noisy)
    group = tree["posterior_predictive"]
    x = group["x"]
    assert x.dims == ("chain", "draw", "obs", "value") and x.shape == (2, 150, 12, 2)
    assert group.attrs["creation_library"] == "tallsbi" and group.attrs["sample_dims"] == ["chain", "draw"]
    # Noise about each sample, and other noise for each.
    residuals = (x - tree["posterior"]["mean"]).values.reshape(300, 24)
    assert abs(residuals.std() / 0.5 - 1) < 0.05 and abs(np.corrcoef(residuals.T)[0, 1]) < 0.25
    samples = np.stack([tree["posterior"][name].values.reshape(-1) for name in posterior.names], 1)
    np.testing.assert_array_equal(x.values.reshape(300, 12, 2), tallsbi.predict(noisy, samples, 12))
    assert "posterior_predictive" not in posterior.to_datatree(10).children
    with pytest.raises(ValueError, match="simulator: the model does not know its task"):
        posterior.to_datatree(10, predictive=True)


def test_posterior_predictive_of_a_task_under_its_conditions():
    model = tallsbi.train(tallsbi.simulate("drift_diffusion_stimulus", n=300), epochs=1, hidden=[8], members=1, progress=False)
    x = tallsbi.observe("drift_diffusion_stimulus", n=5).x
    tree = model.posterior(x).to_datatree(20, predictive=True)
    predicted = tree["posterior_predictive"]["x"].values
    assert predicted.shape == (1, 20, *x.shape)
    np.testing.assert_array_equal(predicted[0, :, :, 0], np.tile(np.float32(x[:, 0]), (20, 1)))
    assert len(np.unique(predicted[0, :, 0, 1:])) > 10


def test_log_likelihood_is_that_of_the_command_line_where_observations_share_an_error():
    """Of each observation given the others."""
    form = {"symmetries": False, "candidates": [{"components": 1, "covariance": "diagonal"}]}
    simulations = tallsbi.simulate("lotka_volterra", n=1500, n_obs=2)
    model = tallsbi.train(simulations, epochs=5, hidden=[32], members=1, progress=False, options={"likelihood": form})
    x = tallsbi.observe("lotka_volterra", n=4).x
    tree = model.posterior(x).to_datatree(20)
    theta = np.stack([tree["posterior"][name].values[0] for name in model.names], 1)
    whole = model.posterior(x).log_likelihood(theta)
    rest = np.stack([model.posterior(np.delete(x, k, 0)).log_likelihood(theta) for k in range(4)], 1)
    alone = np.stack([model.posterior(x[k : k + 1]).log_likelihood(theta) for k in range(4)], 1)
    each = tree["log_likelihood"]["x"].values[0]
    np.testing.assert_allclose(each, whole[:, None] - rest, atol=1e-4)
    assert abs(each - alone).max() > 1e-2
