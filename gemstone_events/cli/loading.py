"""From ``module:Service`` on the command line to a service."""

import importlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType

from gemstone_events.cli.command import Failure
from gemstone_events.errors import GemstoneError
from gemstone_events.service import MicroService

_PYTHON = Path(sysconfig.get_path("stdlib"))
_OURS = Path(__file__).parents[1]
_INSTALLED = frozenset({"site-packages", "dist-packages"})


class NoServiceError(Failure):
    """There is no such module, or no service in it; the text may mean something else."""


class OtherModuleError(Failure):
    """A file cannot be imported, because its name is another module's.

    Attributes:
        module: that name.
    """

    def __init__(self, message: str, module: str) -> None:
        super().__init__(message)
        self.module = module


def load_service(target: str) -> MicroService:
    """Return the service that ``target`` names, made and not yet configured.

    Args:
        target: ``module``, ``package.module:Service`` or ``folder/file.py:Service``; what stands after the colon is a
            subclass of ``MicroService`` or an instance, and may be left out where the module has exactly one.

    Raises:
        NoServiceError: there is no such module, or it has no service.
        Failure: there is no such file or service, or it cannot be imported.
        ServiceConfigurationError: the service is declared wrongly.
    """
    name, _, attribute = target.partition(":")
    file = file_of(target)
    with _start_refused(name):
        module = _import(name, Path.cwd()) if file is None else _import_file(file)
    found = _look_up(module, attribute, target) if attribute else _only_service(module, target)
    if isinstance(found, MicroService):
        return found
    if not isinstance(found, type) or not issubclass(found, MicroService):
        raise Failure(f"{target} is no service: it is {found!r}, not a subclass of MicroService")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise Failure(f"{target} cannot be made without arguments: {error}") from error
    try:
        return found()
    except GemstoneError:
        raise
    except Exception as error:
        raise Failure(f"making {target} failed: {_explain(error, module.__name__)}") from error


def file_of(target: str) -> Path | None:
    """Return the file that a target names, or None where it names a module."""
    name = target.partition(":")[0]
    return Path(name) if name.endswith(".py") or "/" in name else None


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise Failure(f"there is no file {path}" + ("" if path.suffix == ".py" else "; a module is written with dots"))
    full = path.resolve()
    # A file inside a package is imported as the package's module, so that its relative imports work.
    names = [full.stem]
    root = full.parent
    while (root / "__init__.py").is_file():
        names.insert(0, root.name)
        root = root.parent
    name = ".".join(names).removesuffix(".__init__")
    module = _import(name, root)
    if Path(module.__file__ or "").resolve() != full:
        raise OtherModuleError(
            f"{path} cannot be imported, for {module.__file__} is the module {name!r}: rename the file", name
        )
    return module


def _import(name: str, root: Path) -> ModuleType:
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise NoServiceError(
                f"there is no module {error.name!r}, neither in {root} nor among what is installed"
            ) from error
        raise Failure(f"importing {name} failed: {_explain(error, name)}") from error
    except Failure:
        raise
    except (Exception, SystemExit) as error:
        raise Failure(f"importing {name} failed: {_explain(error, name)}") from error


@contextmanager
def _start_refused(name: str) -> Iterator[None]:
    """Have ``start()`` fail while a module is imported: it would read this command's own command line, and block."""

    def refuse(self: MicroService) -> None:
        raise Failure(f"{name} starts its service on import: put start() under if __name__ == '__main__':")

    start = MicroService.start
    MicroService.start = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        MicroService.start = start  # type: ignore[method-assign]


def _explain(error: BaseException, module: str) -> str:
    """Return what happened, and in which line of the author's code, whose ``module`` was imported."""
    if isinstance(error, SyntaxError) and error.filename is not None and Path(error.filename).is_file():
        return f"{error.msg} ({error.filename}, line {error.lineno})"
    places = [
        f"{frame.f_code.co_filename}, line {line}; "
        for frame, line in traceback.walk_tb(error.__traceback__)
        if _is_authors(frame, module.partition(".")[0])
    ]
    return f"{type(error).__name__}: {error} ({''.join(places[-1:])}--debug shows the traceback)"


def _is_authors(frame: FrameType, package: str) -> bool:
    """Tell whether code is of the author's package, or at least neither Python's, nor ours, nor installed."""
    file = Path(frame.f_code.co_filename)
    if not file.is_file():  # it was made at run time, or is frozen into the interpreter
        return False
    if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
        return True
    return not (file.is_relative_to(_PYTHON) or file.is_relative_to(_OURS) or _INSTALLED & set(file.parts))


def _look_up(module: ModuleType, attribute: str, target: str) -> object:
    found: object = module
    for word in attribute.split("."):
        if not hasattr(found, word):
            raise Failure(f"{target} does not exist: {module.__name__} has {_named(_services(module)) or 'no service'}")
        found = getattr(found, word)
    return found


def _only_service(module: ModuleType, target: str) -> type[MicroService]:
    services = _services(module)
    if len(services) == 1:
        return services[0]
    if not services:
        raise NoServiceError(f"{target} has no service: there is no subclass of MicroService in it")
    all_of_them = " ".join(f"{target}:{service.__name__}" for service in services)
    raise Failure(
        f"{target} has {len(services)} services, {_named(services)}: choose one as {target}:{services[0].__name__}, "
        f"or run all: gemstone run {all_of_them}"
    )


def _services(module: ModuleType) -> list[type[MicroService]]:
    """Return the module's own services; a module that has none may offer those that it imported."""
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, MicroService) and value is not MicroService
    ]
    return [value for value in found if value.__module__ == module.__name__] or found


def _named(services: list[type[MicroService]]) -> str:
    return ", ".join(service.__name__ for service in services)
