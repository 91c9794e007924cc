"""What the package promises to the outside: names, layers, exit codes, README."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gridsite
from gridsite import errors

ROOT = Path(__file__).parents[1]
HEAVY = ("pandas", "numpy", "pandapower", "geopandas", "pyomo", "highspy", "matplotlib")


def python(code, **options):
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        **options,
    ).stdout


class TestNames:
    def test_at_most_twenty_are_public(self):
        assert len(gridsite.__all__) <= 20
        assert gridsite.__all__ == sorted(set(gridsite.__all__))
        assert set(gridsite.__all__) <= set(dir(gridsite))

    @pytest.mark.parametrize("name", gridsite.__all__)
    def test_each_is_there_and_explained(self, name):
        assert getattr(gridsite, name).__doc__.strip()

    def test_an_unknown_name_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="no attribute 'sove'"):
            gridsite.sove  # noqa: B018

    def test_types_and_homes_name_the_same(self):
        """What a type checker sees is what is loaded when first asked for."""
        source = Path(gridsite.__file__).read_text(encoding="utf-8")
        block = source.split("if TYPE_CHECKING:\n", 1)[1].split("\n\n", 1)[0]
        seen = {
            name.strip(): home
            for home, names in re.findall(r"from (\S+) import (.+)", block)
            for name in names.split(",")
        }
        assert set(seen) == set(gridsite.__all__)
        for name, home in seen.items():
            module = sys.modules.get(home) or __import__(home, fromlist=[name])
            assert getattr(module, name) is getattr(gridsite, name)

    @pytest.mark.parametrize("module", ["gridsite", "gridsite.cli"])
    def test_importing_loads_nothing_heavy(self, module):
        loaded = python(f"import sys, {module}; print(*sys.modules)").split()
        assert module in loaded
        assert not set(HEAVY) & set(loaded)

    def test_version_is_that_of_the_project(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        assert gridsite.__version__ == project["project"]["version"]


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "code", "builtin"),
        [
            ("ConfigError", 2, ValueError),
            ("DataError", 3, ValueError),
            ("SchemaError", 3, ValueError),
            ("CRSError", 3, ValueError),
            ("FeederError", 3, ValueError),
            ("PowerFlowError", 4, RuntimeError),
            ("BaseCaseError", 4, RuntimeError),
            ("SolveError", 5, RuntimeError),
            ("InfeasibleError", 5, RuntimeError),
            ("NoIncumbentError", 5, RuntimeError),
            ("SolverUnavailableError", 5, RuntimeError),
        ],
    )
    def test_exit_codes(self, name, code, builtin):
        kind = getattr(errors, name)
        assert kind.exit_code == code
        assert issubclass(kind, errors.GridsiteError)
        assert issubclass(kind, builtin)

    def test_the_tree_in_the_docstring_names_every_class(self):
        named = set(re.findall(r"\w+(?:Error|Warning)\b", errors.__doc__))
        assert {k.__name__ for k in _subclasses(errors.GridsiteError)} < named


def _subclasses(kind):
    return {kind}.union(*(_subclasses(child) for child in kind.__subclasses__()))


def test_imports_point_down_only():
    pytest.importorskip("importlinter", reason="needs import-linter")
    # in a process of its own: it reconfigures logging
    call = "lint_imports(config_filename='pyproject.toml', no_cache=True)"
    code = f"import sys; from importlinter.cli import *; sys.exit({call})"
    python(code, cwd=ROOT)


def test_validation_names_tests_that_exist():
    text = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    named, source = 0, ""
    for cell in (row.rstrip("| ").rpartition(" | ")[2] for row in rows):
        for path, name in re.findall(r"`(?:(\w[\w/]+\.py|…)(?:::)?)?([\w:]*)`", cell):
            if path not in ("", "…"):
                source = (ROOT / "tests" / path).read_text(encoding="utf-8")
            for part in filter(None, name.split("::")):
                assert re.search(rf"^ *(def|class) {part}\b", source, flags=re.M), part
                named += 1
    assert named > 30


@pytest.mark.slow
def test_the_python_example_of_the_readme_runs(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.+?)```", text, flags=re.DOTALL)
    if block is None:
        pytest.skip("README.md has no python example")
    (tmp_path / "networks").symlink_to(ROOT / "networks")
    assert "units" in python(block[1], cwd=tmp_path)
    (written,) = (tmp_path / "out").glob("*/summary.json")
    summary = json.loads(written.read_text(encoding="utf-8"))
    assert summary["status"] == "optimal"
    assert summary["replay"]["new"] == 0
    assert (written.parent / "map.html").is_file()
