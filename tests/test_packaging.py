"""What is built and installed: the whole package, and nothing but the package."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Each folder of the repository that is installed, and its place in what is installed.
INSTALLED = {
    "gemstone_events": "gemstone_events",
    "rpc": "gemstone_events/rpc",
    "transports": "gemstone_events/transports",
}
NOT_SOURCE = (".*", "__pycache__", "*.egg-info", "build", "dist")

# Imports every module and every entry point, and says where each came from.
IMPORT_ALL = """
import importlib, importlib.metadata, pkgutil
import gemstone_events
for module in pkgutil.walk_packages(gemstone_events.__path__, "gemstone_events."):
    if not module.name.endswith("__main__"):
        print(importlib.import_module(module.name).__file__)
for point in importlib.metadata.distribution("gemstone_events").entry_points:
    assert callable(point.load()), point
"""


def modules(folder: Path) -> set[str]:
    """The modules below a folder of the repository, without what its links lead to."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*.py") if folder in path.resolve().parents}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it and not from the checkout."""
    source = tmp_path_factory.mktemp("source") / "repository"
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    target = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-P", "-m", "build", "--no-isolation", "--outdir", str(target), str(source))
    return target


@pytest.fixture(scope="module")
def wheel(built: Path) -> set[str]:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel is installed, on its own."""
    (path,) = built.glob("*.whl")
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-P", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(path))
    return target


def run(*argv: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_wheel_holds_every_module_and_no_other(wheel: set[str]) -> None:
    expected = {f"{place}/{name}" for folder, place in INSTALLED.items() for name in modules(ROOT / folder)}
    assert {name for name in wheel if name.endswith(".py")} == expected


def test_the_wheel_installs_one_top_level_name(wheel: set[str]) -> None:
    assert {name.partition("/")[0] for name in wheel if ".dist-info/" not in name} == {"gemstone_events"}


def test_the_wheel_says_that_it_is_typed_and_under_which_licence(wheel: set[str]) -> None:
    assert "gemstone_events/py.typed" in wheel
    assert [name for name in wheel if name.endswith(".dist-info/licenses/LICENSE")]


def test_the_source_distribution_keeps_the_layout_of_the_repository(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {f"{folder}/{name}" for folder in INSTALLED for name in modules(ROOT / folder)}
    assert expected <= names


def test_every_folder_with_modules_is_a_listed_package() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {
        str(Path(place, name).parent).replace("/", ".")
        for folder, place in INSTALLED.items()
        for name in modules(ROOT / folder)
    }
    assert set(listed) == folders


@pytest.mark.parametrize("name", ["rpc", "transports"])
def test_a_plain_checkout_shows_the_package_as_it_is_installed(name: str) -> None:
    link = ROOT / "gemstone_events" / name
    assert link.is_symlink(), f"gemstone_events/{name} is no link: clone with git's core.symlinks=true"
    assert link.resolve() == (ROOT / name).resolve()


def test_the_installed_package_works_from_anywhere(installed: Path, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(installed)}
    files = run(sys.executable, "-c", IMPORT_ALL, cwd=tmp_path, environment=environment).split()
    assert len(files) > 20
    assert [path for path in files if installed not in Path(path).parents] == []


def test_the_installed_command_shows_its_help(installed: Path, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(installed)}
    said = run(sys.executable, str(installed / "bin" / "gemstone"), "--help", cwd=tmp_path, environment=environment)
    assert "Usage" in said


def test_the_installed_version_is_that_of_the_project(wheel: set[str]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"gemstone_events-{version}.dist-info/METADATA" in wheel


def test_every_library_that_is_imported_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {distribution_name(requirement) for group in groups for requirement in group}
    # Contract suites and fixtures are for those who have pytest.
    for_tests = {"pytest", "pytest-asyncio"}
    owners = importlib.metadata.packages_distributions()
    missing = {
        f"{folder}/{name} imports {library}"
        for folder in INSTALLED
        for name in modules(ROOT / folder)
        for library in imported(ROOT / folder / name) - set(sys.stdlib_module_names) - {"gemstone_events"}
        if not declared & {distribution_name(owner) for owner in owners.get(library, [library])}
        and not (name.startswith("testing/") and distribution_name(library) in for_tests)
    }
    assert missing == set()


def distribution_name(requirement: str) -> str:
    """The normalised name of a requirement or module (Python Packaging User Guide, "Names and normalization")."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~;\[ ]", requirement)[0]).lower()


def imported(path: Path) -> set[str]:
    """The top-level names of what a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
