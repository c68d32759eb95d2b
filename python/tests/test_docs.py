"""The examples in docstrings, documents and notebooks."""

import ast
import doctest
import importlib
import importlib.util
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = ["", "._prior", "._simulate", "._model", "._predict", "._refine", ".diagnostics", ".sbi"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"tallsbi{name}"))
    assert result.attempted > 0 and result.failed == 0


def missing(code):
    """Packages that `code` imports and that are not here."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return sorted(name for name in {name.split(".")[0] for name in found} if importlib.util.find_spec(name) is None)


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", ["README.md", "python/README.md", "docs/python.md"])
def test_blocks_of_documents(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, run, left = {}, 0, []
    for code in blocks(page):
        if "tallsbi" not in code:  # other packages alone: minutes, or files of the command line
            continue
        if absent := missing(code):
            left.append(", ".join(absent))
            continue
        exec(compile(code, page, "exec"), names)  # noqa: S102
        run += 1
    assert run > 0
    if left:
        print(f"{page}: {len(left)} blocks not run, which need {'; '.join(left)}")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("notebook", sorted((ROOT / "docs/notebooks").glob("*.py")), ids=lambda path: path.name)
def test_notebooks(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if absent := missing(notebook.read_text()):
        pytest.skip(f"needs {', '.join(absent)}")
    runpy.run_path(str(notebook))
