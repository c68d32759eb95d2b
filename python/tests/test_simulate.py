"""Python functions as simulators: shapes, failures, processes, random numbers."""

import warnings

import numpy as np
import pytest
import tallsbi
import tallsbi.sbi

PRIOR = tallsbi.Prior({"a": tallsbi.Normal(0.0, 1.0), "b": tallsbi.Uniform(1.0, 2.0)})


def noisy(theta, rng):
    return rng.normal(theta[0], theta[1], 3)


def test_batched_and_row_by_row_are_told_apart():
    calls = []

    def batched(theta):
        calls.append(theta.shape)
        return np.stack([theta[:, 0], theta[:, 0] * theta[:, 1], theta[:, 1]], 1)

    def row(theta):
        return np.array([theta[0], theta[0] * theta[1], theta[1]])

    theta, x = tallsbi.simulate(batched, PRIOR, 2500)
    assert calls[-1] == (500, 2) and x.shape == (2500, 3)
    np.testing.assert_array_equal(x, tallsbi.simulate(row, PRIOR, 2500).x)
    np.testing.assert_array_equal(x[:, 2], theta[:, 1])
    # Rows that a batch would mix: x = θ/Σθ.
    x = tallsbi.simulate(lambda theta: theta / theta.sum(), PRIOR, 20).x
    np.testing.assert_allclose(x.sum(1), 1.0)


def test_processes_and_batches_do_not_change_a_number():
    one = tallsbi.simulate(noisy, PRIOR, 300, seed=3, n_obs=2)
    assert one.x.shape == (300, 2, 3)
    for workers, batch in [(1, 7), (2, 64), (3, 10)]:
        np.testing.assert_array_equal(one.x, tallsbi.simulate(noisy, PRIOR, 300, seed=3, n_obs=2, workers=workers, batch=batch).x)
    assert not np.array_equal(one.x, tallsbi.simulate(noisy, PRIOR, 300, seed=4, n_obs=2).x)
    assert len(np.unique(one.x)) == one.x.size

    def of_the_global_generator(theta):
        return np.random.normal(theta)

    state = np.random.get_state()[1].copy()
    x = [tallsbi.simulate(of_the_global_generator, PRIOR, 100, workers=workers, batch=10).x for workers in (1, 2)]
    np.testing.assert_array_equal(*x)
    np.testing.assert_array_equal(state, np.random.get_state()[1])


def test_own_generators_are_refused_by_processes():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="random numbers of its own"):
        tallsbi.simulate(lambda theta: rng.normal(theta), PRIOR, 50, workers=2)


def test_rows_that_raise_are_counted():
    def fails(theta):
        if theta[0] > 0:
            raise RuntimeError("the solver blew up")
        return theta

    with pytest.warns(UserWarning, match="of 100 simulations failed.*RuntimeError: the solver blew up"):
        made = tallsbi.simulate(fails, PRIOR, 100, workers=2, batch=10)
    np.testing.assert_array_equal(np.isnan(made.x[:, 0]), made.theta[:, 0] > 0)
    assert made.failed == (made.theta[:, 0] > 0).sum() > 10

    def batch_fails(theta):
        if (theta[:, 0] > 2).any():
            raise RuntimeError("one of them")
        return theta.copy()

    with pytest.warns(UserWarning, match="one of them"):
        made = tallsbi.simulate(batch_fails, PRIOR, 500, vectorized=True, batch=50)
    np.testing.assert_array_equal(np.isnan(made.x[:, 0]), made.theta[:, 0] > 2)
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        tallsbi.simulate(lambda theta: 1 // 0, PRIOR, 10)


def test_built_in_tasks():
    theta, x = made = tallsbi.simulate("slcp", n=20, n_obs=3, seed=5)
    assert theta.shape == (20, 5) and x.shape == (20, 3, 8) and made.task == "slcp"
    np.testing.assert_array_equal(theta, made.prior.sample(20, seed=5))
    assert "slcp" in tallsbi.tasks()
    with pytest.raises(ValueError, match="no task is called"):
        tallsbi.simulate("none", n=3)
    at, x = tallsbi.observe("slcp", theta[0], 4)
    np.testing.assert_array_equal(at, theta[0])
    np.testing.assert_array_equal(x, tallsbi.observe("slcp", theta[0], 6).x[:4])


def test_progress_is_told_and_can_stop():
    seen = []
    tallsbi.simulate(noisy, PRIOR, 30, batch=10, progress=lambda *now: seen.append(now))
    assert [now[2:4] for now in seen] == [(10, 30), (20, 30), (30, 30)]

    def stop(*_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        tallsbi.simulate("jrnmm", n=20_000, progress=stop)


def test_torch_priors():
    torch = pytest.importorskip("torch", reason="skipped: no torch here")
    from torch import distributions as d

    prior = tallsbi.torch_prior([d.Independent(d.Uniform(torch.zeros(2), torch.ones(2)), 1), d.LogNormal(0.0, 0.5)], ["a", "b", "c"])
    assert prior == tallsbi.Prior({"a": tallsbi.Uniform(0, 1), "b": tallsbi.Uniform(0, 1), "c": tallsbi.LogNormal(0.0, 0.5)})
    inference = tallsbi.sbi.NLE(d.Independent(d.Uniform(torch.zeros(2), torch.ones(2)), 1))
    assert inference.prior == tallsbi.Prior({"theta_1": tallsbi.Uniform(0, 1), "theta_2": tallsbi.Uniform(0, 1)})
    drawn = torch.randn(50, 20, 2, requires_grad=True)
    assert 0 <= tallsbi.diagnostics.sbc(torch.randn(50, 2), drawn).p_value <= 1
    with pytest.raises(ValueError, match="Weibull is no prior"):
        tallsbi.torch_prior(d.Weibull(1.0, 1.0), ["a"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = tallsbi.simulate(lambda theta: torch.as_tensor(theta) * 2, PRIOR, 10)
    np.testing.assert_array_equal(made.x, made.theta * 2)


def test_every_distribution_is_drawn_and_has_a_density():
    kinds = {
        "a": tallsbi.TruncatedNormal(0.0, 1.0, low=0.5),
        "b": tallsbi.Beta(2.0, 3.0),
        "c": tallsbi.Gamma(2.0, 0.5),
        "d": tallsbi.InverseGamma(3.0, 1.0),
        "e": tallsbi.HalfNormal(2.0),
        "f": tallsbi.Exponential(0.1),
        "g": tallsbi.LogUniform(0.1, 10.0),
        "h": tallsbi.StudentT(4.0, 1.0, 2.0),
        "i": tallsbi.Cauchy(0.0, 1.0),
        "j": tallsbi.HalfCauchy(1.0),
        "k": tallsbi.MultivariateLogNormal(["k1", "k2"], [0.0, 1.0], [[1.0, 0.5], [0.5, 1.0]]),
    }
    prior = tallsbi.Prior(kinds)
    draws = prior.sample(20_000, seed=3)
    assert np.isfinite(prior.log_prob(draws)).all()
    assert draws[:, 0].min() >= 0.5 and 0 <= draws[:, 1].min() and draws[:, 1].max() <= 1
    assert abs(draws[:, 2].mean() - 4.0) < 0.1 and abs(draws[:, 5].mean() - 10.0) < 0.3
    assert abs(np.corrcoef(np.log(draws[:, 10:].T))[0, 1] - 0.5) < 0.03
    gamma = tallsbi.Prior({"c": kinds["c"]}).log_prob([[3.0]])[0]
    assert abs(gamma - (2.0 * np.log(0.5) + np.log(3.0) - 1.5)) < 1e-12
    with pytest.raises(ValueError, match="shape between"):
        tallsbi.Prior({"c": tallsbi.Gamma(-1.0, 1.0)})


MODEL = """name = "decay"
parameters = ["k=uniform(0, 1)"]
observations = ["a", "b"]
transform = "log"
[command]
run = ["python3", "worker.py"]
workers = 1
"""

WORKER = """import random, sys
for line in sys.stdin:
    seed, k = line.split()
    random.seed(int(seed))
    if float(k) < 0.01:
        print("nan", flush=True)
    else:
        print(*(float(k) * random.lognormvariate(0, 0.3) for _ in range(2)), flush=True)
"""


def test_model_files(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    model = tmp_path / "model.toml"
    model.write_text(MODEL)
    with pytest.warns(UserWarning, match=r"for example row \d+ \(seed \d+, k = 0.00"):
        made = tallsbi.simulate(str(model), n=1000)
    assert (made.x_transform, made.observation_names, made.prior.names) == ("log", ["a", "b"], ["k"])
    assert np.array_equal(np.isnan(made.x[:, 0]), made.theta[:, 0] < 0.01) and made.failed > 0
    residuals = np.log(made.x[made.theta[:, 0] >= 0.01] / made.theta[made.theta[:, 0] >= 0.01]) / 0.3
    assert abs(residuals.mean()) < 0.1 and abs(residuals.std() - 1) < 0.1
    theta, x = tallsbi.observe(str(model), [0.5], n=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refined = tallsbi.refine(str(model), x, per_round=500, rounds=2, samples=200)
    # 40 values of log-variance 0.09: the posterior's standard deviation of log k is 0.047.
    assert abs(np.log(refined.samples.mean() / theta[0])) < 0.25
    assert 0.02 < np.log(refined.samples).std() < 0.1
    model.write_text(MODEL.replace("worker.py", "missing.py"))
    with pytest.raises(tallsbi.Error, match="no row succeeds: it ended with status 2"):
        tallsbi.simulate(str(model), n=10)
    with pytest.raises(ValueError, match="no such model file"):
        tallsbi.simulate("missing.toml", n=10)
