"""The functions of an app as they run: what their code declares, with what the configuration says in place of it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from bindings.binding import Binding
from bindings.decorator import bind
from bindings.errors import BindingError, place_of
from bindings.policies import DeadLetter
from dispatcher.config.configuration import Configuration
from dispatcher.config.origin import Origin
from dispatcher.config.problems import Problem, nearest, raise_all

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dispatcher.config.targets import Target

__all__ = ["Function", "binds_alone", "configured", "overridden"]

_POLICIES = ("batch", "retry", "limits")


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """A binding, and where it runs.

    Attributes:
        binding: with what the configuration says in it.
        declared: as its code declares it.
        target: None for this process.
        origins: of the policies that are not the defaults: ``("retry", "max_attempts")``.
    """

    binding: Binding
    declared: Binding
    target: Target | None
    origins: Mapping[tuple[str, ...], Origin]

    @property
    def target_name(self) -> str:
        """The kind of its target: ``"local"``."""
        return self.target.type if self.target is not None else "local"


def binds_alone(options: Any) -> bool:
    """Whether what is said of a function binds it, with no decorator: it names the code, or a target that has it."""
    from dispatcher.config.targets import RemoteTarget

    return bool(options.function) or isinstance(options.target, RemoteTarget)


def configured(bindings: Sequence[Binding], configuration: Configuration, *, whole: bool = True) -> list[Function]:
    """Put together what code declares and what the configuration says.

    Args:
        bindings: as they were discovered.
        configuration: of the command.
        whole: the bindings are all that the app has: functions that are bound in the configuration alone are added, and
            the name of no function is an error. Else what is said of others is left out.

    Raises:
        ConfigurationError: with all that is wrong, as the policies say it, and where.
    """
    if not configuration.functions:
        return [_function(binding, binding, {}) for binding in bindings]
    problems: list[Problem] = []
    said, unknown = _by_name(bindings, configuration.functions)
    functions = []
    for binding in bindings:
        name, options = said.get(id(binding), (binding.name, None))
        if options is not None and getattr(options, "function", None):
            problems.append(_problem(configuration, (name, "function"), f"{binding.name} is bound in its code already"))
        functions.append(_one(binding, name, options, configuration, problems))
    for name, options in unknown.items():
        if not whole:
            continue
        if not binds_alone(options) or not (options.function or options.streams):
            close = nearest(name, {binding.name for binding in bindings})
            message = (
                f'there is no such function{close} (function = "module:name" would bind one here; streams = ["..."]'
                ' with a target such as { type = "http", url = "..." } one elsewhere)'
            )
            problems.append(_problem(configuration, (name,), message))
        elif (bound := _bound(name, options, configuration, problems)) is not None:
            functions.append(_one(bound, name, options, configuration, problems))
    raise_all(problems)
    return functions


def overridden(binding: Binding, options: BaseModel) -> Binding:
    """The binding, with what the options say in place of its own. Both stay as they are.

    Args:
        binding: as its code declares it.
        options: a model of :data:`dispatcher.config.document.FunctionOptions`.

    Raises:
        ValueError: as the policies and the binding raise it.
    """
    return replace(binding, **_changes(binding, options))


def _changes(binding: Binding, options: BaseModel) -> dict[str, Any]:
    from dispatcher.config.document import policy_of

    changes: dict[str, Any] = {}
    for name in options.model_fields_set - {"function", "target"}:
        value = getattr(options, name)
        if name in _POLICIES:
            if value is not None:
                changes[name] = policy_of(getattr(binding, name), value)
        elif name == "dead_letter":
            changes[name] = DeadLetter() if value is None else policy_of(binding.dead_letter, value)
        else:
            changes[name] = value
    return changes


def _one(binding: Binding, name: str, options: Any, configuration: Configuration, problems: list[Problem]) -> Function:
    changed = binding
    if options is not None:
        try:
            changed = overridden(binding, options)
        except ValueError as error:
            problems += _blamed(binding, name, options, configuration, error)
    said = {keys[2:]: origin for keys, origin in configuration.origins.items() if keys[:2] == ("functions", name)}
    return _function(changed, binding, said, getattr(options, "target", None))


def _blamed(
    binding: Binding, name: str, options: BaseModel, configuration: Configuration, whole: ValueError
) -> list[Problem]:
    """Which of the options are wrong by themselves; all of them together, when none is."""
    problems = []
    for field in sorted(options.model_fields_set - {"function", "target"}):
        alone = type(options).model_construct(**{field: getattr(options, field)})
        try:
            overridden(binding, alone)
        except ValueError as error:
            problems.append(_problem(configuration, (name, field), str(error)))
    return problems or [_problem(configuration, (name,), str(whole))]


def _problem(configuration: Configuration, keys: Sequence[str], message: str) -> Problem:
    for length in range(len(keys), 0, -1):
        origin = configuration.origin("functions", *keys[:length])
        if origin.place:
            return Problem(origin.place, ".".join(("functions", *keys)), message)
    return Problem("", ".".join(("functions", *keys)), message)


def _by_name(
    bindings: Iterable[Binding], functions: Mapping[str, Any]
) -> tuple[dict[int, tuple[str, Any]], dict[str, Any]]:
    """What is said of each binding, and what is said of none."""
    from dispatcher.config.sources import same_name

    left = dict(functions)
    said: dict[int, tuple[str, Any]] = {}
    by_name = {binding.name: binding for binding in bindings}
    for name in list(left):
        if name in by_name:
            said[id(by_name[name])] = (name, left.pop(name))
    for name in list(left):
        # From a variable, which has neither lower case nor dashes.
        alike = [binding for each, binding in by_name.items() if same_name(each) == name and id(binding) not in said]
        if len(alike) == 1:
            said[id(alike[0])] = (name, left.pop(name))
    return said, left


def _bound(name: str, options: Any, configuration: Configuration, problems: list[Problem]) -> Binding | None:
    """The binding of a function that only the configuration binds."""
    if not options.streams:
        problems.append(_problem(configuration, (name,), 'it consumes no stream: write streams = ["..."]'))
        return None
    if not options.function:
        return _bound_elsewhere(name, options, configuration, problems)
    root = str(configuration.root)
    if root not in sys.path:
        sys.path.insert(0, root)
    module, _, attribute = options.function.partition(":")
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - users' modules raise anything
        problems.append(
            _problem(configuration, (name, "function"), f"can't import {module}: {type(error).__name__}: {error}")
        )
        return None
    function = getattr(imported, attribute, None)
    if function is None:
        close = nearest(attribute, (each for each, value in vars(imported).items() if callable(value)))
        problems.append(_problem(configuration, (name, "function"), f"{module} has no {attribute}{close}"))
        return None
    try:
        return bind(function, *options.streams, name=name)
    except BindingError as error:
        problems.append(_problem(configuration, (name, "function"), str(error)))
        return None


def _bound_elsewhere(name: str, options: Any, configuration: Configuration, problems: list[Problem]) -> Binding | None:
    """The binding of a function that is at its target, and has no code here."""
    from dispatcher.config.elsewhere import function_elsewhere, functions_elsewhere

    takes_batches = options.batch is not None and options.batch.max_events > 1
    try:
        return bind(functions_elsewhere if takes_batches else function_elsewhere, *options.streams, name=name)
    except BindingError as error:
        problems.append(_problem(configuration, (name,), str(error.__cause__ or error)))
        return None


def _function(
    binding: Binding,
    declared: Binding,
    said: Mapping[tuple[str, ...], Origin],
    target: Any = None,
) -> Function:
    return Function(binding=binding, declared=declared, target=target, origins={**_in_code(declared), **said})


def _in_code(binding: Binding) -> dict[tuple[str, ...], Origin]:
    """What a decorator says beyond the defaults. What it says as it is by default can't be told from silence."""
    place = Origin("code", place_of(binding.function))
    plain = bind(binding.function, *binding.streams, name=binding.name)
    found: dict[tuple[str, ...], Origin] = {("streams",): place}
    for each in fields(Binding):
        own, usual = getattr(binding, each.name), getattr(plain, each.name)
        if each.name in {"function", "name", "signature"} or own == usual:
            continue
        found[each.name,] = place
        if is_dataclass(own):
            found |= {
                (each.name, inner.name): place
                for inner in fields(own)
                if getattr(own, inner.name) != getattr(usual, inner.name)
            }
    return found
