"""Functions are found in folders, files and modules, and what is wrong is said precisely."""

# ruff: noqa: D103 - helpers

import os
import sys
from pathlib import Path

import pytest

from bindings import (
    BindingError,
    DeclarationError,
    DiscoveryError,
    DuplicateName,
    ImportFailed,
    NoFunctionsFound,
    TargetNotFound,
)
from bindings.discovery import discover


def function(name: str, stream: str = "orders") -> str:
    return f'from bindings import on_stream\n\n@on_stream("{stream}")\ndef {name}(order: dict): ...\n'


def names(bindings) -> list[str]:
    return [f"{binding.function.__module__}:{binding.name}" for binding in bindings]


@pytest.fixture
def shop(project):
    """A project with a folder of functions, none of it installed."""
    return project(
        {
            "fns/check_limit.py": function("check_limit") + "\n" + function("another"),
            "fns/confirm.py": "from fns.check_limit import check_limit\n" + function("confirm"),
            "fns/packed/__init__.py": "from ._inside import inside\n",
            "fns/packed/_inside.py": function("inside"),
            "fns/packed/handler.py": function("handler"),
            "fns/_private.py": "raise RuntimeError('never imported')",
            "fns/test_confirm.py": "raise RuntimeError('never imported')",
            "fns/confirm_test.py": "raise RuntimeError('never imported')",
            "fns/conftest.py": "raise RuntimeError('never imported')",
            "fns/notes.txt": "",
            "fns/data/raw.py": "raise RuntimeError('not a package')",
            "single.py": function("single"),
        }
    )


ALL = [
    "fns.check_limit:check_limit",
    "fns.check_limit:another",
    "fns.confirm:confirm",
    "fns.packed._inside:inside",
    "fns.packed.handler:handler",
]


@pytest.mark.parametrize("target", ["fns", "fns/", "./fns"])
def test_folder(shop, target):
    """Each file and package of a folder is imported, in order; tests and private files are not; an imported
    function counts once."""
    assert names(discover(target, root=shop)) == ALL


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("fns/check_limit.py", ALL[:2]),
        ("fns.check_limit", ALL[:2]),
        ("fns.packed", ALL[3:]),
        ("fns/packed", ["packed._inside:inside", "packed.handler:handler"]),
        ("fns/packed/handler.py", ["packed.handler:handler"]),
        ("single.py", ["single:single"]),
        ("single", ["single:single"]),
        ("fns.check_limit:another", ALL[1:2]),
        ("fns/check_limit.py:another", ALL[1:2]),
        ("fns:confirm", ALL[2:3]),
        ("fns.confirm:check_limit", ALL[:1]),
    ],
)
def test_file_module_and_function(shop, target, expected):
    """However a function is named, it is found; a folder gives its files its own name."""
    assert names(discover(target, root=shop)) == expected


def test_several_targets_are_one_list(shop):
    """A function that two targets hold counts once."""
    assert names(discover("fns/confirm.py", "fns", "single", root=shop)) == [
        ALL[2],
        *ALL[:2],
        *ALL[3:],
        "single:single",
    ]


def test_absolute_folder_from_anywhere(shop, tmp_path_factory, monkeypatch):
    """The working directory does not matter for an absolute path, and is the root when none is given."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert names(discover(str(shop / "fns"))) == ALL
    monkeypatch.chdir(shop)
    assert names(discover("fns")) == ALL


def test_folder_that_is_the_root(project):
    """`discover(".")` imports the files by their own names, as running them there would."""
    root = project({"alone.py": function("alone"), "helper.py": "import alone\n"})
    assert names(discover(".", root=root)) == ["alone:alone"]


def test_folder_inside_a_package(project):
    """A folder that is part of a package is imported with the package's name, so relative imports work."""
    root = project(
        {
            "shopapp/__init__.py": "",
            "shopapp/models.py": "N = 1\n",
            "shopapp/functions/__init__.py": "",
            "shopapp/functions/check.py": "from ..models import N\n" + function("check"),
        }
    )
    assert names(discover("shopapp/functions", root=root)) == ["shopapp.functions.check:check"]


def test_path_is_not_polluted(shop):
    """Discovering again and again leaves one entry, and hands out the same bindings."""
    first = discover("fns", root=shop)
    second = discover("fns", "fns/confirm.py", "single", root=shop)
    assert [id(binding) for binding in second[: len(first)]] == [id(binding) for binding in first]
    assert len([entry for entry in sys.path if Path(entry or ".").resolve() == shop.resolve()]) == 1


def test_one_file_under_two_names(shop):
    """A folder that is named in two ways would run its functions twice, so it is refused."""
    with pytest.raises(DuplicateName, match=r"imported under two names, 'fns\.packed.*' and 'packed"):
        discover("fns", "fns/packed", root=shop)


def test_root_is_on_the_path(project):
    """Code in a folder below the root can import what is beside the folder, and beside the root's files."""
    root = project(
        {
            "shared_top.py": "",
            "src/shared_src.py": "",
            "src/srcfns/check.py": "import shared_top, shared_src, srcfns.models\n" + function("check"),
            "src/srcfns/models.py": "",
        }
    )
    assert names(discover("src/srcfns", root=root)) == ["srcfns.check:check"]


def test_function_of_another_package_is_not_taken_along(project):
    """Importing a function to call it does not consume its stream here; naming it does."""
    root = project({"lib.py": function("lib"), "app.py": "from lib import lib\n" + function("mine")})
    assert names(discover("app.py", root=root)) == ["app:mine"]
    assert names(discover("app:lib", root=root)) == ["lib:lib"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("fnss", "there is no folder, file or module 'fnss'.*did you mean fns"),
        ("fns/chek_limit.py", r"there is no .*chek_limit\.py; did you mean check_limit\.py"),
        ("fns.chek_limit", "'fns.chek_limit'.*did you mean check_limit"),
        ("nowhere/at/all", "there is no .*nowhere/at/all"),
        ("fns/notes.txt", "not a Python file"),
        ("fns.check_limit:chek_limit", "no function 'chek_limit' in 'fns.check_limit'; did you mean check_limit"),
        ("fns/data/raw", "there is no"),
    ],
)
def test_what_is_not_there_is_named(shop, target, words):
    """The message has what was looked for and what is near it."""
    with pytest.raises(TargetNotFound, match=words):
        discover(target, root=shop)


def test_no_functions(project):
    """Where nothing is decorated, the message shows how to decorate."""
    root = project({"plain/a.py": "def check(order: dict): ...\n", "plain/b.py": "", "empty/readme.txt": ""})
    with pytest.raises(NoFunctionsFound, match=r'(?s)plain/a\.py.*@on_stream\("orders\.enriched"\)'):
        discover("plain", root=root)
    with pytest.raises(NoFunctionsFound, match="empty"):
        discover("empty", root=root)
    with pytest.raises(NoFunctionsFound, match=r"check in plain\.a is not decorated"):
        discover("plain.a:check", root=root)


@pytest.mark.parametrize(
    ("code", "words", "cause"),
    [
        ("import json\n\n1 / 0\n", r"bad\.py:3: importing 'broken\.bad' failed: ZeroDivisionError", ZeroDivisionError),
        ("import no_such_thing\n", r"bad\.py:1: .*No module named 'no_such_thing'; install it", ModuleNotFoundError),
        ("import beside\n", r"bad\.py:1: .*write `from broken import beside`", ModuleNotFoundError),
        ("from broken.beside import x\n", r"bad\.py:1: .*ImportError: cannot import name 'x'", ImportError),
        ("import json\njson.loads('{')\n", r"bad\.py:2: .*JSONDecodeError", ValueError),
        ("import sys\nsys.exit(3)\n", r"bad\.py:2: .*SystemExit: 3", SystemExit),
        ("x = 1\ndef f(:\n", r"bad\.py:2: SyntaxError: .*\n    def f\(:", SyntaxError),
        ("if 1:\nx = 1\n", r"bad\.py:2: IndentationError", SyntaxError),
        # Before 3.11.4 it is a ValueError.
        ("x = '\0'\n", "null bytes", (SyntaxError, ValueError)),
    ],
)
def test_code_that_does_not_import(project, code, words, cause):
    """The message has the user's own file and line, and the cause is kept."""
    root = project({"broken/bad.py": code, "broken/beside.py": ""})
    with pytest.raises(ImportFailed, match=words) as caught:
        discover("broken", root=root)
    assert isinstance(caught.value.__cause__, cause)
    assert isinstance(caught.value, DiscoveryError)
    assert isinstance(caught.value, ImportError)


def test_declaration_error_comes_through(project):
    """A function that can't be bound is reported as that, with its place."""
    root = project({"wrong/f.py": function("check").replace("dict", "int")})
    with pytest.raises(DeclarationError, match=r"wrong/f\.py:3: check: int is not a type"):
        discover("wrong", root=root)


def test_a_name_that_never_resolves(project):
    """A type that only the type checker sees is refused at discovery, by name."""
    code = (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from shop import Order\n"
    ) + function("check").replace("dict", "Order")
    root = project({"lazy/f.py": code})
    with pytest.raises(DeclarationError, match=r"name 'Order', which is not defined.*outside of `if TYPE_CHECKING:`"):
        discover("lazy", root=root)


def test_decorator_on_top_of_on_stream(project):
    """A decorator around @on_stream would never run, so it is refused."""
    code = """
import functools
from bindings import on_stream

def logged(function):
    @functools.wraps(function)
    def wrapper(*args): return function(*args)
    return wrapper

@logged
@on_stream("orders")
def check(order: dict): ...
"""
    root = project({"stacked/f.py": code})
    with pytest.raises(DeclarationError, match="make @on_stream the topmost"):
        discover("stacked", root=root)


def test_two_functions_of_one_name(project):
    """Both places are named, and how to tell the functions apart."""
    root = project({"twins/a.py": function("check"), "twins/b.py": function("check", "returns")})
    with pytest.raises(DuplicateName, match=r"'check'.*twins/a\.py:3 and .*twins/b\.py:3;.*name="):
        discover("twins", root=root)
    with pytest.raises(DuplicateName):
        discover("twins/a.py", "twins/b.py", root=root)


def test_name_that_something_else_has(project):
    """A folder with the name of an installed module is not mistaken for it."""
    root = project({"json/check.py": function("check")})
    with pytest.raises(ImportFailed, match=r"json/__init__\.py has the name 'json' and comes first: rename"):
        discover("json", root=root)


def test_folder_with_a_dot(project):
    """A folder that Python can't import by name is refused; a file in it is imported."""
    root = project({"app.v1/dotted.py": function("dotted")})
    with pytest.raises(TargetNotFound, match="its name has a dot"):
        discover("app.v1", root=root)
    assert names(discover("app.v1/dotted.py", root=root)) == ["dotted:dotted"]


def test_every_error_is_a_binding_error():
    """One class catches all that discovery raises on purpose."""
    for kind in (TargetNotFound, ImportFailed, NoFunctionsFound, DuplicateName, DeclarationError):
        assert issubclass(kind, BindingError)


@pytest.mark.parametrize("target", ["", ":", ":f", "..a", f"{os.sep}nowhere.py", "a b", "-", "ümlaut:ö"])
def test_odd_targets_raise_nothing_else(project, target):
    """Whatever is written on the command line, the error is one of ours."""
    root = project({"readme.txt": ""})
    with pytest.raises(BindingError):
        discover(target, root=root)
