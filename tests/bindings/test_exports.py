"""The public names, and what importing them costs."""

import subprocess
import sys
import traceback

import bindings


def test_all_lists_what_is_there():
    """`__all__` holds every public name of the package and nothing that is missing."""
    there = {
        name
        for name, value in vars(bindings).items()
        if not name.startswith("_") and type(value).__name__ not in {"module", "_Feature"}
    }
    assert there == set(bindings.__all__)
    assert len(bindings.__all__) == len(set(bindings.__all__))


def test_tracebacks_name_the_package():
    """An exception is shown by the name that the user imported it by."""
    lines = traceback.format_exception(bindings.Reject("why"))
    assert lines[-1] == "bindings.Reject: why\n"
    assert bindings.on_stream.__module__ == "bindings"


def test_policies_can_be_read_by_pydantic():
    """Settings may hold policies: their annotations resolve, which a changed `__module__` would break."""
    from pydantic import TypeAdapter

    assert TypeAdapter(bindings.Retry).validate_python({"max_attempts": 3}) == bindings.Retry(max_attempts=3)


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_adds_less_than_100_ms():
    """Importing bindings after pydantic takes less than 0.1 s (the best of three processes).

    Of the processor: on a busy machine that keeps no bytecode it waits for more than that.
    """
    code = "import time, pydantic; begin = time.process_time(); import bindings; print(time.process_time() - begin)"
    assert min(float(_run(code)) for _ in range(3)) < 0.1


def test_import_needs_only_stdlib_and_pydantic():
    """A function's process loads nothing else, and neither the dispatcher nor msgspec."""
    code = (
        "import sys, pydantic; before = set(sys.modules); import bindings, bindings.discovery, bindings.testing;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    loaded = set(_run(code).split())
    assert loaded <= {
        "bindings",
        "pydantic",
        "pydantic_core",
        "annotated_types",
        "typing_extensions",
        "typing_inspection",
    }
