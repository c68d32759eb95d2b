"""Models and posteriors: against closed forms, and what can go wrong."""

import copy
import pickle

import numpy as np
import pytest
import tallsbi
from conftest import SPREAD, gaussian


def exact(x):
    variance = 1 / (1 + len(x) / SPREAD**2)
    return variance * x.sum() / SPREAD**2, variance


def normal(x, mean, variance):
    return -0.5 * (x - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)


def test_posterior_and_densities_are_the_exact_ones(model, observations):
    posterior, (mean, variance) = model.posterior(observations), exact(observations)
    samples = posterior.sample(2000)
    assert abs(samples.mean() - mean) < 0.15 * variance**0.5 and abs(samples.std() / variance**0.5 - 1) < 0.1
    at = np.linspace(mean - 0.5, mean + 0.5, 5)[:, None]
    np.testing.assert_allclose(posterior.log_prob(at), normal(at[:, 0], mean, variance), atol=0.25)
    likelihood = normal(observations[:, 0], at, SPREAD**2).sum(1)
    np.testing.assert_allclose(posterior.log_likelihood(at), likelihood, atol=0.4)
    evidence = likelihood[2] + normal(at[2, 0], 0.0, 1.0) - normal(at[2, 0], mean, variance)
    assert abs(posterior.log_evidence() - evidence) < 0.4
    # The density integrates to one, whatever the network learned.
    grid = np.linspace(mean - 8 * variance**0.5, mean + 8 * variance**0.5, 2001)
    assert abs(np.exp(posterior.log_prob(grid[:, None])).sum() * (grid[1] - grid[0]) - 1) < 0.1
    assert abs(posterior.map()[0] - mean) < 0.15 * variance**0.5
    theta, hessian = posterior.map(hessian=True)
    np.testing.assert_array_equal(theta, posterior.map())
    assert hessian.shape == (1, 1) and abs(np.linalg.inv(hessian)[0, 0] ** 0.5 / variance**0.5 - 1) < 0.1
    # Of a single parameter the conditional density is the posterior.
    slice_ = posterior.conditional("mean")
    assert slice_.names == ["mean"] and slice_.density.shape == slice_.grids[0].shape == (101,)
    assert abs(np.trapezoid(slice_.density, slice_.grids[0]) - 1) < 1e-9
    expected = np.exp(normal(slice_.grids[0], mean, variance))
    assert np.abs(slice_.density - expected).max() < 0.15 * expected.max()
    given = posterior.conditional("mean", at=[0.0], range=(-1.0, 1.0), points=11)
    np.testing.assert_allclose(given.grids[0], np.linspace(-1, 1, 11))
    assert abs(posterior.summary()["mean"]["sd"] / variance**0.5 - 1) < 0.1


def test_seeds_threads_pickles_and_files(model, observations, tmp_path):
    samples = model.posterior(observations).sample(100, seed=3)
    assert not np.array_equal(samples, model.posterior(observations).sample(100, seed=4))
    model.save(tmp_path / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    for other in [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), tallsbi.Model.load(tmp_path / "model.safetensors")]:
        np.testing.assert_array_equal(other.posterior(observations).sample(100, seed=3), samples)
    one = tallsbi.simulate(gaussian, model.prior, 500)
    trained = []
    for threads in (1, 2):
        tallsbi.set_threads(threads)
        np.testing.assert_array_equal(model.posterior(observations).sample(100, seed=3), samples)
        trained.append(tallsbi.train(one, epochs=2, hidden=[8], members=1).posterior(observations).sample(50))
    np.testing.assert_array_equal(*trained)


def test_dtypes_strides_orders_and_lists(simulations, observations):
    theta, x = simulations.theta[:400].astype("f4"), simulations.x[:400].astype("f4")

    def samples(theta, x, observed):
        model = tallsbi.train(theta, x, simulations.prior, epochs=2, hidden=[8], members=1)
        return model.posterior(observed).sample(20)

    plain = samples(theta, x, observations)
    np.testing.assert_array_equal(plain, samples(np.asfortranarray(theta), np.repeat(x, 2, 1)[:, ::2], observations.tolist()))
    np.testing.assert_array_equal(plain, samples(theta.astype("f8")[:, 0], x[:, None, :], observations[:, 0]))


def test_tensors(model, observations):
    torch = pytest.importorskip("torch", reason="skipped: no torch here")
    tensor = torch.tensor(observations, requires_grad=True)
    np.testing.assert_array_equal(model.posterior(tensor).sample(10), model.posterior(observations).sample(10))


def test_posteriors_of_many_observations_in_the_shape_of_sbi(model, observations):
    from tallsbi.sbi import DirectPosterior

    drawn = DirectPosterior(model).sample_batched((2, 5), observations)
    assert drawn.shape == (2, 5, 4, 1)
    np.testing.assert_array_equal(drawn.reshape(10, 4, 1).swapaxes(0, 1), model.draws(observations, 10))


def test_scores(scores):
    x = np.zeros((3, 10))
    posterior = scores.posterior(x)
    assert scores.architecture == "anchored"
    for options in [{}, {"method": "jac", "steps": 5}, {"method": "fnpe", "sampler": "ddim", "steps": 10}]:
        assert posterior.sample(20, **options).shape == (20, 10)
    for call in [lambda: posterior.log_prob(x), posterior.map, posterior.log_evidence, lambda: posterior.conditional(scores.names[0])]:
        with pytest.raises(tallsbi.Error, match="has no density"):
            call()


def test_conditionals_of_two_parameters():
    """θ1 + θ2 alone is observed: given one, the other is known as well as the observation tells, the marginals are wide."""
    prior = tallsbi.Prior({"a": tallsbi.Normal(0.0, 1.0), "b": tallsbi.Normal(0.0, 1.0)})
    theta = prior.sample(3000, 0)
    x = theta.sum(1, keepdims=True) + 0.2 * np.random.default_rng(0).normal(size=(3000, 1))
    posterior = tallsbi.train(theta, x, prior, epochs=30, hidden=[16], members=1).posterior([[1.0]])
    mode, hessian = posterior.map(hessian=True)
    np.testing.assert_allclose(mode, 0.49, atol=0.05)
    # I + 11ᵀ/0.04.
    np.testing.assert_allclose(hessian, [[26, 25], [25, 26]], rtol=0.2)
    own = posterior.conditional("a", at=[0.0, -0.5], range=(0.5, 2.5), points=401)
    mean = np.trapezoid(own.density * own.grids[0], own.grids[0])
    sd = np.trapezoid(own.density * (own.grids[0] - mean) ** 2, own.grids[0]) ** 0.5
    assert abs(mean - 1.5 * 25 / 26) < 0.1 and abs(sd * 26**0.5 - 1) < 0.2
    both = posterior.conditional(("b", "a"), points=41)
    assert both.names == ["b", "a"] and both.density.shape == (41, 41)
    b, a = np.meshgrid(*both.grids, indexing="ij")
    weights = both.density / both.density.sum()
    assert (weights * (a - 0.49) * (b - 0.49)).sum() < -0.3
    assert both.grids[0].min() < -1.5 and both.grids[0].max() > 2.0
    for match, call in [
        ("'c' is none of the parameters a, b", lambda: posterior.conditional("c")),
        ("one parameter or two different ones", lambda: posterior.conditional(["a", "a"])),
        ("at: expected a value of each of a, b, found 1", lambda: posterior.conditional("a", at=[0.0])),
        ("range: low < high", lambda: posterior.conditional("a", range=(1.0, 0.0))),
        ("range: low < high", lambda: posterior.conditional(["a", "b"], range=(0.0, 1.0))),
    ]:
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(ValueError, match="the density is 0 at all of these values"):
        posterior.conditional("a", at=[0.0, np.nan])


def test_modes_at_the_edge_have_no_curvature():
    prior = tallsbi.Prior({"a": tallsbi.Uniform(0.0, 1.0)})
    theta = prior.sample(2000, 0)
    x = theta + 0.3 * np.random.default_rng(0).normal(size=(2000, 1))
    posterior = tallsbi.train(theta, x, prior, epochs=20, hidden=[8], members=1).posterior([[1.3]])
    assert 0.99 < posterior.map()[0] <= 1
    with pytest.raises(tallsbi.Error, match="like no Gaussian: its mode lies at the edge of the prior's support"):
        posterior.map(hessian=True)


def test_errors_are_one_line(model, simulations, observations, tmp_path):
    def refused(kind, match, call):
        with pytest.raises(kind, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)

    theta, x, prior = simulations.theta, simulations.x, simulations.prior
    refused(ValueError, "low < high", lambda: tallsbi.Prior({"a": tallsbi.Uniform(1, 0)}))
    refused(ValueError, "expected observations of 1 values", lambda: model.posterior([[1.0, 2.0]]))
    refused(tallsbi.Error, "all values of all 1 observations are missing", lambda: model.posterior([[np.nan]]).sample(10))
    refused(ValueError, "infinite", lambda: model.posterior([[np.inf]]).sample(10))
    refused(ValueError, "at least one", lambda: model.posterior(np.empty((0, 1))))
    refused(ValueError, "epochs", lambda: tallsbi.train(theta, x, prior, epochs=0))
    refused(ValueError, "unknown field `depth`.*as keywords also architecture, epochs", lambda: tallsbi.train(theta, x, prior, depth=3))
    refused(ValueError, "theta", lambda: tallsbi.train(theta[:-1], x, prior))
    refused(ValueError, "outside the prior", lambda: tallsbi.train(theta, x, tallsbi.Prior({"a": tallsbi.Uniform(0, 1)})))
    refused(ValueError, "tempering", lambda: model.posterior(observations).sample(10, method="gauss"))
    refused(ValueError, "rectangular", lambda: model.posterior([[1.0], [1.0, 2.0]]))
    refused(ValueError, "seed", lambda: model.posterior(observations).sample(10, seed=-1))
    refused(OSError, "none.safetensors", lambda: tallsbi.Model.load(tmp_path / "none.safetensors"))
    refused(tallsbi.Error, "model", lambda: tallsbi.Model.from_bytes(b"no model"))
    with pytest.warns(UserWarning, match="unlike the simulations"):
        model.posterior([[50.0]])


def test_refining_a_python_simulator(observations, model):
    mean, variance = exact(observations)
    refined = tallsbi.refine(gaussian, observations, model.prior, seed=1)
    assert abs(refined.samples.mean() - mean) < 0.2 * variance**0.5
    at = np.array([[mean - 0.2], [mean + 0.2]])
    np.testing.assert_allclose(refined.posterior.log_prob(at), normal(at[:, 0], mean, variance), atol=0.2)


def test_posterior_sbc_of_a_python_simulator(observations, model):
    posterior = model.posterior(observations)
    right = tallsbi.posterior_sbc(posterior, gaussian, pairs=100, draws=50)
    assert right.ranks.shape == (1, 100) and list(right.p_values) == ["mean", "distance"]
    assert right.p_value > 0.01 and right.p_value <= 2 * min(right.p_values.values())
    # The posterior's sd is 0.24: another simulator's observations pull p(θ | y, y') away from θ'.
    elsewhere = lambda theta, rng: gaussian(theta, rng) + 0.4  # noqa: E731
    assert tallsbi.posterior_sbc(posterior, elsewhere, pairs=100, draws=50).p_value < 1e-3
    with pytest.raises(ValueError, match="does not know its task"):
        tallsbi.posterior_sbc(posterior)
    with pytest.raises(ValueError, match="new observations: expected observations of 1 values"):
        tallsbi.posterior_sbc(posterior, lambda theta, rng: rng.normal(theta[0], 1.0, 3))


def test_reference_and_arviz(observations, model):
    x = tallsbi.observe("gaussian_linear", n=5).x
    assert tallsbi.reference("gaussian_linear", x, 1000).samples.shape == (1000, 10)
    pytest.importorskip("xarray", reason="skipped: no xarray here")
    posterior = model.posterior(observations)
    tree = posterior.to_datatree(200)
    assert tree["posterior"].attrs["creation_library"] == "tallsbi"
    # What ArviZ 1 recommends of every group, but for the time: the same seed gives the same tree.
    library = {"inference_library", "inference_library_version", "creation_library", "creation_library_version", "creation_library_language"}
    for name, group in tree.children.items():
        drawn = set() if name == "observed_data" else {"sample_dims"}
        assert set(group.attrs) == library | drawn and all(group.attrs.values()), name
    samples = posterior.sample(200)
    np.testing.assert_array_equal(tree["posterior"]["mean"].values[0], samples[:, 0])
    np.testing.assert_array_equal(tree["sample_stats"]["lp"].values[0], posterior.log_prob(samples, normalized=False))
    chains = posterior.to_datatree(402, chains=4)
    assert chains["posterior"]["mean"].shape == chains["sample_stats"]["lp"].shape == (4, 101)
    assert chains["log_likelihood"]["x"].shape == (4, 101, 4) and chains["prior"]["mean"].shape == (1, 402)
    # Each chain is a run of its own, the first that of the plain posterior.
    each = chains["posterior"]["mean"].values
    np.testing.assert_array_equal(each[0], posterior.sample(101)[:, 0])
    assert len(np.unique(each)) > 350
    with pytest.raises(ValueError, match="chains: must be at least 1"):
        posterior.to_datatree(10, chains=0)
    assert tree["posterior"]["mean"].shape == (1, 200) and tree["log_likelihood"]["x"].shape == (1, 200, 4)
    total = tree["log_likelihood"]["x"].sum("obs").values[0]
    np.testing.assert_allclose(total, model.posterior(observations).log_likelihood(tree["posterior"]["mean"].values[0][:, None]), rtol=1e-6)


def test_a_tree_needs_xarray(model, observations, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match="pip install tallsbi"):
        model.posterior(observations).to_datatree(10)


def test_same_samples_as_the_command_line(tmp_path):
    import json
    import os
    import subprocess

    binary = os.environ.get("TALLSBI_BINARY")
    if not binary:
        pytest.skip("TALLSBI_BINARY is not set")
    run = lambda *words: subprocess.run([binary, "-q", *map(str, words)], check=True, cwd=tmp_path, stdout=subprocess.PIPE)  # noqa: E731
    run("simulate", "sir", "-n", 600, "-o", "train.h5", "--seed", 3)
    short = ["--architecture", "likelihood", "--epochs", 2, "--hidden", "16", "--members", 1, "--config", "train.toml"]
    (tmp_path / "train.toml").write_text("[likelihood]\nsymmetries = false\n")
    run("train", "train.h5", "-o", "own.safetensors", *short, "--seed", 4)
    theirs = tallsbi.Model.load(tmp_path / "own.safetensors")
    ours = tallsbi.train(tallsbi.simulate("sir", n=600, seed=3), options={"likelihood": {"symmetries": False}}, architecture="likelihood", epochs=2, hidden=[16], members=1, seed=4)
    x = tallsbi.observe("sir", n=3, seed=5).x
    np.testing.assert_array_equal(theirs.posterior(x).sample(200), ours.posterior(x).sample(200))
    run("observe", "sir", "--from-prior", "-n", 3, "--seed", 5, "-o", "obs.h5")
    words = ["diagnose", "posterior-sbc", "own.safetensors", "--observations", "obs.h5", "--pairs", 20, "--draws", 20, "--json"]
    found = json.loads(run(*words).stdout)
    check = tallsbi.posterior_sbc(ours.posterior(x), pairs=20, draws=20)
    assert check.p_value == found["p_value"]
    np.testing.assert_array_equal(check.ranks, [test["ranks"] for test in found["ranks"][:-1]])


def test_network_error(model, observations):
    posterior = model.posterior(observations)
    # Of a linear model in closed form there is none.
    assert (posterior.sample(50) == posterior.sample(50, network_error="ignore")).all()
    with pytest.raises(ValueError, match="`include` or `ignore`"):
        posterior.sample(10, network_error="none")


def test_lapses(model, scores):
    """An outlier is told from the others, whose posterior stays what it is."""
    regular = 0.4 + SPREAD * np.linspace(-1.5, 1.5, 30)[:, None]
    posterior = model.posterior(np.vstack([regular, [[4.4]]]))
    samples = posterior.sample(1000, lapse=0.05)
    probabilities = posterior.lapse_probabilities(samples, lapse=0.05)
    assert probabilities.shape == (31,) and probabilities[30] > 0.99 and probabilities[:30].max() < 0.5
    plain = model.posterior(regular).sample(1000)
    assert abs(samples.mean() - plain.mean()) < 0.3 * plain.std() and abs(samples.std() / plain.std() - 1) < 0.2
    p = posterior.p_values(samples)
    assert p.argmin() == 30 and p[30] < 1e-3 and p[:30].min() > 0.05 / 31
    rate = posterior.sample(500, lapse="infer")
    assert rate.shape == (500, 2) and np.all((rate[:, 1] > 0) & (rate[:, 1] < 1))
    assert posterior.lapse_probabilities(rate, lapse="infer")[30] > 0.9
    with pytest.raises(ValueError, match="must be a rate between 0 and 1"):
        posterior.sample(10, lapse=2.0)
    with pytest.raises(ValueError, match="does not take lapses"):
        scores.posterior(np.zeros((3, 10))).sample(10, lapse=0.05)


def test_conditions_are_known_and_not_inferred():
    def simulator(theta, rng):
        return rng.normal(theta[..., :1] * theta[..., 1:], 0.5)

    prior = tallsbi.Prior({"slope": tallsbi.Normal(0.0, 1.0)})
    simulations = tallsbi.simulate(simulator, prior, 3000, conditions=tallsbi.Prior({"dose": tallsbi.Uniform(-2.0, 2.0)}))
    assert simulations.conditions == 1 and simulations.x.shape == (3000, 2)
    dose, x = simulations.x[:, :1], simulations.x[:, 1:]
    assert abs(np.corrcoef(simulations.theta[:, 0] * dose[:, 0], x[:, 0])[0, 1]) > 0.9
    settings = {"epochs": 40, "hidden": [32, 32], "members": 1, "learning_rate": 3e-3}
    model = tallsbi.train(simulations.theta, x, prior, conditions=dose, **settings)
    doses = np.array([[-1.5], [0.5], [1.5]] * 4)
    rng = np.random.default_rng(0)
    observed = rng.normal(0.8 * doses, 0.5)
    precision = 1 + (doses**2).sum() / 0.25
    mean, sd = (doses * observed).sum() / 0.25 / precision, precision**-0.5
    posterior = model.posterior(observed, conditions=doses)
    samples = posterior.sample(1000)
    same = tallsbi.train(simulations, **settings)
    assert np.array_equal(same.posterior(np.hstack([doses, observed])).sample(1000), samples)
    assert abs(samples.mean() - mean) < 0.7 * sd and abs(np.log(samples.std() / sd)) < 0.3
    # As the first columns of x, and one row for all.
    assert np.array_equal(model.posterior(np.hstack([doses, observed])).sample(1000), samples)
    one = model.posterior(observed[:3], conditions=[1.5])
    assert np.array_equal(one.x[:, 0], [1.5] * 3)
    with pytest.raises(ValueError, match="conditions: expected 12 rows"):
        model.posterior(observed, conditions=doses[:5])
    with pytest.raises(ValueError, match="conditions: expected"):
        tallsbi.train(simulations.theta, x, prior, conditions=dose[:-1], epochs=1)
    with pytest.raises(ValueError, match="is a parameter too"):
        tallsbi.simulate(simulator, prior, 10, conditions=prior)


def test_one_dimension_is_observations_of_one_value(model, simulations, observations, scores):
    expected = model.posterior(observations).sample(50)
    np.testing.assert_array_equal(model.posterior(observations[:, 0]).sample(50), expected)
    np.testing.assert_array_equal(model.posterior(list(observations[:, 0])).sample(50), expected)
    sets = np.stack([observations, observations + 0.1])
    np.testing.assert_array_equal(model.draws(sets[:, :, 0], count=5), model.draws(sets, count=5))
    one = tallsbi.train(simulations.theta[:500, 0], simulations.x[:500].reshape(-1), simulations.prior, epochs=1, hidden=[4], members=1)
    assert one.posterior(observations[:, 0]).sample(10).shape == (10, 1)
    # Of ten values: one observation, or nothing that could be meant.
    assert scores.posterior(np.zeros(10)).x.shape == (1, 10)
    with pytest.raises(ValueError, match=r"one dimension, of 7 values, and a row has 10; give an array of the shape \(n, 10\)"):
        scores.posterior(np.zeros(7))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_several_threads_at_once_give_what_one_gives(model, observations, scores):
    from concurrent.futures import ThreadPoolExecutor

    tall = np.random.default_rng(0).normal(size=(5, 10))
    work = [lambda seed=seed: model.posterior(observations).sample(200, seed=seed) for seed in range(4)]
    work += [lambda seed=seed: scores.posterior(tall).sample(50, seed=seed) for seed in range(4)]
    work += [lambda: tallsbi.simulate("slcp", n=2000).x, lambda: model.posterior(observations).log_prob(np.linspace(-1, 1, 3000))]
    expected = [one() for one in work]
    for _ in range(3):
        with ThreadPoolExecutor(6) as pool:
            for found, alone in zip(pool.map(lambda one: one(), work), expected, strict=True):
                np.testing.assert_array_equal(found, alone)
