"""What ``import gemstone_events`` offers: sorted, complete and documented."""

import inspect
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import gemstone_events

PUBLIC = sorted(getattr(gemstone_events, "__all__", []))


def isort_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def test_all_names_are_sorted_and_named_once() -> None:
    assert list(gemstone_events.__all__) == sorted(set(gemstone_events.__all__), key=isort_order)


def test_every_public_name_exists_and_no_other_of_ours_does() -> None:
    ours = {
        name
        for name, value in vars(gemstone_events).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and str(getattr(value, "__module__", "gemstone_events")).startswith("gemstone_events")
    }
    assert ours == {name for name in PUBLIC if not name.startswith("_")}


@pytest.mark.parametrize("name", [name for name in PUBLIC if not name.startswith("_")])
def test_a_public_name_is_documented(name: str) -> None:
    thing = getattr(gemstone_events, name)
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        # Constants and type aliases are documented where they are used.
        return
    assert inspect.getdoc(thing), f"{name} has no docstring"
    # A class of ours does not pass for documented by its base.
    assert thing.__doc__, f"{name} only inherits its docstring"


@pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.isclass(getattr(gemstone_events, name))])
def test_the_public_methods_of_a_class_are_documented(name: str) -> None:
    own = vars(getattr(gemstone_events, name))
    undocumented = [
        method
        for method, value in own.items()
        if not method.startswith("_")
        and (inspect.isroutine(value) or isinstance(value, property))
        and not inspect.getdoc(getattr(getattr(gemstone_events, name), method))
    ]
    assert undocumented == []


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert gemstone_events.__version__ == project["version"]
