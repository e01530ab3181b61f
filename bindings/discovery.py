"""Import a folder, a file, a module or one function of it, and collect the bindings.

The user's project need not be installed: the folder above a folder of functions goes on ``sys.path``, once, so
that its files import as ``functions.check_limit`` and a manifest can hold ``"module:attr"``.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType

from bindings.binding import Binding
from bindings.decorator import bindings_of
from bindings.errors import (
    DeclarationError,
    DuplicateName,
    ImportFailed,
    NoFunctionsFound,
    TargetNotFound,
    place_of,
)

__all__ = ["discover"]

_HOW = """decorate one:

    from bindings import on_stream

    @on_stream("orders.enriched")
    def check_limit(order: dict) -> None: ..."""


def discover(*targets: str, root: str | Path | None = None) -> list[Binding]:
    """Import what ``targets`` name and return the bindings defined there, in order of module and line.

    Args:
        targets: each a folder (its .py files and packages; not test files, nor names that begin with an
            underscore or a dot), a file, ``package.module`` (a package with its modules), or one of these with
            ``:function`` behind it.
        root: the folder that relative paths and module names begin at; the working directory by default.

    Raises:
        TargetNotFound: there is no such folder, file, module or function.
        ImportFailed: a module raised while it was imported.
        DeclarationError: a function can't be bound as it is declared.
        NoFunctionsFound: a target has no decorated function.
        DuplicateName: two functions have one name.
    """
    base = Path(root or ".").resolve()
    # A dict as an ordered set: a function that two targets hold counts once. Bindings hash by their fields,
    # some of which do not hash.
    found: dict[int, Binding] = {}
    for target in targets:
        found |= {id(binding): binding for binding in _of_target(target, base)}
    bindings = list(found.values())
    _check_names(bindings)
    return bindings


def _of_target(target: str, root: Path) -> list[Binding]:
    place, attribute = target, ""
    if ":" in target and not {"/", "\\"} & set(target.rpartition(":")[2]):
        place, _, attribute = target.rpartition(":")
    path = root / place
    if path.exists() or place.endswith(".py") or "/" in place or os.sep in place:
        import_root, names = _modules_at(path, root)
        if path.resolve().is_relative_to(root):
            _put_on_path(root)
        _put_on_path(import_root)
        modules = [_import(name, import_root, path) for name in names]
    else:
        _put_on_path(root)
        modules = list(_with_submodules(_import(place, root, None), root))
    pairs = [pair for module in modules for pair in _collect(module)]
    if attribute:
        return _pick(pairs, modules, attribute, target)
    if not pairs:
        looked = ", ".join(str(_file_of(module) or module.__name__) for module in modules) or str(path)
        raise NoFunctionsFound(f"no function in {target!r} is decorated with @on_stream (looked at {looked}); {_HOW}")
    return [binding for _, binding in pairs]


def _modules_at(path: Path, root: Path) -> tuple[Path, list[str]]:
    """Where imports begin for a folder or a file, and the names of the modules in it."""
    path = path.resolve()
    if not path.exists():
        raise TargetNotFound(f"there is no {path}{_near(path.name, _siblings(path))}")
    if path.is_file() and path.suffix != ".py":
        raise TargetNotFound(f"{path} is not a Python file: name a .py file, a folder or a module")
    folder = path if path.is_dir() else path.parent
    import_root = folder if folder == root else folder.parent
    if path.is_file() and "." in folder.name:
        import_root = folder
    while (import_root / "__init__.py").exists():
        import_root = import_root.parent
    prefix = list(folder.relative_to(import_root).parts)
    if any("." in part for part in prefix):
        raise TargetNotFound(f"{folder} can't be imported, its name has a dot: rename it, or name the files in it")
    if path.is_file():
        stem = [] if path.name == "__init__.py" else [path.stem]
        return import_root, [".".join([*prefix, *stem])]
    return import_root, [".".join([*prefix, *parts]) for parts in _walk(path) if prefix or parts]


def _walk(folder: Path) -> Iterator[list[str]]:
    """The modules of a folder, each as the parts of its name below the folder; the folder itself is []."""
    if (folder / "__init__.py").exists():
        yield []
    for entry in sorted(folder.iterdir()):
        if _is_left_out(entry.stem):
            continue
        if entry.suffix == ".py" and entry.is_file():
            yield [entry.stem]
        elif (entry / "__init__.py").is_file() and "." not in entry.name:
            for parts in _walk(entry):
                yield [entry.name, *parts]


def _is_left_out(stem: str) -> bool:
    return stem.startswith(("_", ".", "test_")) or stem.endswith("_test") or stem in {"conftest", "tests", "setup"}


def _with_submodules(module: ModuleType, root: Path) -> Iterator[ModuleType]:
    yield module
    for found in sorted(pkgutil.iter_modules(getattr(module, "__path__", [])), key=lambda found: found.name):
        if not _is_left_out(found.name):
            yield from _with_submodules(_import(f"{module.__name__}.{found.name}", root, None), root)


def _put_on_path(folder: Path) -> None:
    if folder not in {Path(entry or ".").resolve() for entry in sys.path}:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()


def _import(name: str, root: Path, target: Path | None) -> ModuleType:
    try:
        module = importlib.import_module(name)
    except DeclarationError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ImportFailed(_import_problem(error, name, root)) from error
        if target is not None:
            raise ImportFailed(_taken(name, target, sys.modules.get(name.partition(".")[0]))) from error
        missing, parent = error.name.rpartition(".")[2], error.name.rpartition(".")[0]
        folder = root.joinpath(*parent.split(".")) if parent else root
        raise TargetNotFound(
            f"there is no folder, file or module {name!r}: looked in {root} and on sys.path"
            f"{_near(missing, _siblings(folder / missing))}"
        ) from error
    except (Exception, SystemExit) as error:
        raise ImportFailed(_import_problem(error, name, root)) from error
    file = _file_of(module)
    if target is not None and file is not None and not file.is_relative_to(target.resolve()):
        raise ImportFailed(_taken(name, target, module))
    return module


def _taken(name: str, target: Path, other: ModuleType | None) -> str:
    where = _file_of(other) if other else None
    return (
        f"{name!r} was to be imported from {target}, but {where or other} has the name"
        f" {other.__name__ if other else name!r} and comes first: rename one of them"
    )


def _import_problem(error: BaseException, name: str, root: Path) -> str:
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
        return f"{place}: {type(error).__name__}: {error.msg}" + (f"\n    {error.text.strip()}" if error.text else "")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(root) and "site-packages" not in frame.filename
    ]
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else name
    problem = f"{place}: importing {name!r} failed: {type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name and frames:
        beside = Path(frames[-1].filename).parent
        if beside != root and (beside / f"{error.name}.py").exists():
            package = ".".join(beside.relative_to(root).parts)
            return f"{problem}; it is beside that file: write `from {package} import {error.name}`"
        return f"{problem}; install it in the environment that runs this: {sys.executable}"
    return problem


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def _collect(module: ModuleType) -> list[tuple[str, Binding]]:
    """The bindings of the functions that are defined in the module, or beneath it, with their attributes."""
    pairs = []
    for attribute, value in list(vars(module).items()):
        if not isinstance(value, FunctionType) or not _is_within(value.__module__, module.__name__):
            continue
        for binding in bindings_of(value):
            if binding.function is not value:
                raise DeclarationError.at(
                    value, "another decorator is put around @on_stream, and would not run: make @on_stream the topmost"
                )
            pairs.append((attribute, binding))
    return sorted(pairs, key=lambda pair: pair[1].function.__code__.co_firstlineno)


def _is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def _pick(pairs: list[tuple[str, Binding]], modules: list[ModuleType], attribute: str, target: str) -> list[Binding]:
    """The bindings of one function, by its attribute or its name; also of one imported from elsewhere."""
    picked = [binding for name, binding in pairs if attribute in (name, binding.name)]
    if picked:
        return picked
    for module in modules:
        value = vars(module).get(attribute)
        if bindings := bindings_of(value):
            return list(bindings)
        if value is not None:
            raise NoFunctionsFound(f"{attribute} in {module.__name__} is not decorated with @on_stream; {_HOW}")
    names = sorted({name for name, _ in pairs} | {binding.name for _, binding in pairs})
    raise TargetNotFound(
        f"there is no function {attribute!r} in {target.rpartition(':')[0]!r}{_near(attribute, names)}"
    )


def _check_names(bindings: Iterable[Binding]) -> None:
    by_name: dict[str, Binding] = {}
    for binding in bindings:
        other = by_name.setdefault(binding.name, binding)
        if other is not binding and place_of(other.function) == place_of(binding.function):
            raise DuplicateName(
                f"{place_of(binding.function)} is imported under two names, {other.function.__module__!r} and"
                f" {binding.function.__module__!r}: name its folder one way, in the targets and in imports"
            )
        if other is not binding:
            raise DuplicateName(
                f"two functions are named {binding.name!r}, so they would share a consumer group:"
                f" {place_of(other.function)} and {place_of(binding.function)};"
                ' give one another name: @on_stream(..., name="...")'
            )


def _siblings(path: Path) -> list[str]:
    """What could have been meant: the folders and Python files beside a path."""
    if not path.parent.is_dir():
        return []
    names = [entry.name if path.suffix == ".py" or entry.is_dir() else entry.stem for entry in path.parent.iterdir()]
    return sorted(name for name in names if not name.startswith((".", "_")))


def _near(name: str, names: Iterable[str]) -> str:
    known = list(dict.fromkeys(names))
    if near := difflib.get_close_matches(name, known, 3):
        return f"; did you mean {' or '.join(near)}?"
    return f"; there are: {', '.join(known[:12])}" if known else ""
