"""The examples in docstrings."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["tallsbi", "tallsbi._prior", "tallsbi._simulate", "tallsbi._model", "tallsbi.diagnostics", "tallsbi.sbi"])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0 and result.failed == 0
