"""Small models that several tests share."""

import numpy as np
import pytest
import tallsbi

SPREAD = 0.5


def gaussian(theta, rng):
    """One value, normal about the parameter."""
    return rng.normal(theta, SPREAD)


@pytest.fixture(scope="session")
def simulations():
    return tallsbi.simulate(gaussian, tallsbi.Prior({"mean": tallsbi.Normal(0.0, 1.0)}), 10_000)


@pytest.fixture(scope="session")
def model(simulations):
    return tallsbi.train(simulations, epochs=60, hidden=[32], members=2)


@pytest.fixture(scope="session")
def observations():
    return np.array([[0.3], [0.5], [0.1], [0.9]])


@pytest.fixture(scope="session")
def scores():
    return tallsbi.train(tallsbi.simulate("gaussian_linear", n=500), architecture="anchored", epochs=2, hidden=[16])
