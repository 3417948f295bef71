"""Makes blocking classes out of async ones, when `aether.sync` is imported.

Written twice, the two faces would drift apart; so the blocking one is derived: coroutine methods become plain ones, async
generators become generators, `async with` becomes `with`, `aclose` becomes `close`. A method that returns a part with coroutines
of its own, as `ingest` a pipeline, returns that part's blocking face; and a coroutine method `m` with a generator
`_m_steps` beside it runs that generator in the calling thread and its steps on the loop, so that an iterable of the caller's is
the caller's to iterate. What a type checker sees of it,
`__init__.pyi`, is derived from the same source by tests/typing/sync_stubs.py.

Each method is compiled with the signature of its original, as dataclasses do it: a call through `*args, **kwargs` would cost
0.5 µs more, as much as saving an event in memory.
"""

from __future__ import annotations

import inspect
import types
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nats.aio.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.sync._runner import Runner

__all__ = ["NAMES", "blocking", "blocking_protocol", "members"]

NAMES = {"__aenter__": "__enter__", "__aexit__": "__exit__", "aclose": "close"}
"""Members that the blocking face calls by another name."""

_MODULE = "aether.sync"


def members(source: type) -> dict[str, Any]:
    """Return the members of an async class that its blocking face has too, under their async names."""
    names = [name for name in dir(source) if not name.startswith("_") or name in NAMES]
    if "__repr__" in vars(source):
        names.append("__repr__")
    return {name: inspect.getattr_static(source, name) for name in names}


def blocking(source: type, runner: type[Runner], parts: dict[str, type] | None = None) -> type:
    """Return the blocking face of an async class: each object holds one of `source` and a `runner` for its calls.

    Args:
        source: the async class.
        runner: what runs its calls.
        parts: the async classes of what its methods return, for those that return parts with coroutines of their own.
    """
    name = source.__name__
    doc = inspect.cleandoc(source.__doc__ or "").replace("async context manager", "context manager")
    body: dict[str, Any] = {
        "__doc__": f"{doc}\n\n{runner.NOTE}",
        "__module__": _MODULE,
        "__init__": _compiled(
            inspect.getattr_static(source, "__init__"),
            "_check_values({given}); self._async = _source({given}); self._runner = _runner(_name)",
            {"_check_values": _check_values, "_source": source, "_runner": runner, "_name": name},
        ),
    }
    for member_name, member in members(source).items():
        part = (parts or {}).get(member_name)
        body[NAMES.get(member_name, member_name)] = (
            _blocking_member(source, member_name, member) if part is None else _part_maker(member, _blocking_part(part))
        )
    return type(name, (), body)


def _blocking_part(source: type) -> type:
    """Return the blocking face of what a method returns; its objects share the runner of the object that made them."""

    def __init__(self: Any, made: object, runner: Runner) -> None:  # noqa: ANN401, N807 - a method of the class made here
        self._async, self._runner = made, runner

    body: dict[str, Any] = {"__doc__": source.__doc__, "__module__": _MODULE, "__init__": __init__}
    for name, member in members(source).items():
        body[NAMES.get(name, name)] = _blocking_member(source, name, member)
    return type(source.__name__, (), body)


def _part_maker(member: Callable[..., Any], face: type) -> Callable[..., Any]:
    return _compiled(member, "return _face(_method(self._async, {given}), self._runner)", {"_method": member, "_face": face})


def blocking_protocol(source: type) -> type:
    """Return the blocking face of a protocol; `isinstance` looks for its methods, as with `source`."""
    body: dict[str, Any] = {"__doc__": source.__doc__, "__module__": _MODULE}
    for name, member in members(source).items():
        if inspect.isfunction(member):
            body[NAMES.get(name, name)] = _compiled(member, "raise NotImplementedError", {})
    return runtime_checkable(types.new_class(source.__name__, (Protocol,), exec_body=lambda namespace: namespace.update(body)))


def _blocking_member(source: type, name: str, member: Any) -> Any:  # noqa: ANN401 - a descriptor of any kind
    if isinstance(member, property):
        return property(lambda self: getattr(self._async, name), doc=member.__doc__)
    if not inspect.isfunction(member):
        raise TypeError(f"{name}: aether.sync has no rule for a {type(member).__name__}")
    steps = getattr(source, f"_{name}_steps", None)
    if steps is not None:
        return _compiled(member, "\n for step in _steps(self._async, {given}):\n  self._runner.run(step)", {"_steps": steps})
    call = "_method(self._async, {given})"
    if inspect.isasyncgenfunction(member):
        call = f"return self._runner.iterate({call})"
    elif name == "__aenter__":
        call = f"self._runner.run({call}); return self"
    elif inspect.iscoroutinefunction(member):
        call = f"return self._runner.run({call})"
    else:
        call = f"return {call}"
    return _compiled(member, call, {"_method": member})


def _compiled(member: Callable[..., Any], body: str, names: dict[str, Any]) -> Callable[..., Any]:
    """Return a function with the name, signature and docstring of `member`; `{given}` in its body passes the arguments on."""
    name = NAMES.get(member.__name__, member.__name__)
    parameters = list(inspect.signature(member).parameters.values())
    given = ", ".join(_GIVEN[parameter.kind].format(parameter.name) for parameter in parameters[1:])
    # The text only says which parameters have a default; the defaults themselves are objects, those of `member`.
    shape = inspect.Signature(
        [p.replace(annotation=Parameter.empty, default=p.default if p.default is Parameter.empty else None) for p in parameters]
    )
    namespace = dict(names)
    exec(f"def {name}{shape}: {body.format(given=given)}", namespace)  # noqa: S102 - the text is made of our own signatures
    function = namespace[name]
    function.__defaults__, function.__kwdefaults__ = member.__defaults__, member.__kwdefaults__
    function.__qualname__ = f"{member.__qualname__.rpartition('.')[0]}.{name}"
    function.__module__, function.__doc__ = _MODULE, member.__doc__
    function.__annotations__ = {key: _plain(annotation) for key, annotation in member.__annotations__.items()}
    return function  # type: ignore[no-any-return]  # what exec defined


_GIVEN = {
    Parameter.POSITIONAL_ONLY: "{0}",
    Parameter.POSITIONAL_OR_KEYWORD: "{0}",
    Parameter.VAR_POSITIONAL: "*{0}",
    Parameter.KEYWORD_ONLY: "{0}={0}",
    Parameter.VAR_KEYWORD: "**{0}",
}
"""How a parameter of each kind is passed on."""


def _check_values(*args: object, **kwargs: object) -> None:
    """Refuse what belongs to an event loop that is not ours."""
    if any(isinstance(value, Client) for value in (*args, *kwargs.values())):
        raise TypeError("aether.sync takes a URL; a nats-py client belongs to the event loop that connected it")


def _plain(annotation: Any) -> Any:  # noqa: ANN401 - a string, as annotations are in every module here
    return annotation.replace("AsyncIterator[", "Iterator[") if isinstance(annotation, str) else annotation
