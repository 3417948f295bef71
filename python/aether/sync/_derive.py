"""Makes blocking classes out of async ones, when `aether.sync` is imported.

Written twice, the two faces would drift apart; so the blocking one is derived: coroutine methods become plain ones, async
generators become generators, `async with` becomes `with`, `async for` becomes `for`, `aclose` becomes `close`. Beyond that:

- A method or property that returns a part with coroutines of its own, as `ingest` a pipeline, returns that part's blocking face.
- A coroutine method `m` with a generator `_m_steps` beside it runs that generator in the calling thread and its steps on the
  loop, so that an iterable of the caller's is the caller's to iterate.
- An iterator asks `_next_now` first, where it has one: what is there already needs no hop to the loop, which costs 50 µs.
- Functions of the caller's that are called later (`CALLED_LATER`, and what `on` decorates) run in threads of their own, where
  they may block, and use this face.
- What has `__arrow_c_schema__` gets `__arrow_c_stream__` too: Arrow's tools ask for batches in C, and no event loop can wait
  for what they ask.
- A constructor that takes async objects takes their blocking faces; so does a class method, as `join`, which makes a face.

What a type checker sees of it, `__init__.pyi`, is derived from the same source by tests/typing/sync_stubs.py.

Each method is compiled with the signature of its original, as dataclasses do it: a call through `*args, **kwargs` would cost
0.5 µs more, as much as saving an event in memory.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import types
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nats.aio.client import Client

from aether._native import arrow_stream
from aether.bus.arguments import check_no_generator
from aether.sync._runner import handler_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aether.sync._runner import Runner

__all__ = ["ARROW_SCHEMA", "NAMES", "arrow_c_stream", "blocking", "blocking_protocol", "members"]

NAMES = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
}
"""Members that the blocking face calls by another name."""

ARROW_SCHEMA = "__arrow_c_schema__"

CALLED_LATER = ("handler", "on_acquire", "on_error", "on_release")
"""Parameters that take a function of the caller's."""

_MODULE = "aether.sync"


def members(source: type) -> dict[str, Any]:
    """Return the members of an async class that its blocking face has too, under their async names."""
    names = [name for name in dir(source) if not name.startswith("_") or name in NAMES or name == ARROW_SCHEMA]
    if "__repr__" in vars(source):
        names.append("__repr__")
    return {name: inspect.getattr_static(source, name) for name in names}


def blocking(source: type, runner: type[Runner], parts: dict[str, type] | None = None) -> type:
    """Return the blocking face of an async class: each object holds one of `source` and a `runner` for its calls.

    Args:
        source: the async class.
        runner: what runs its calls.
        parts: what its methods return, and methods of those in turn, by the methods' names: the async classes of what has
            coroutines of its own.
    """
    name = source.__name__
    doc = inspect.cleandoc(source.__doc__ or "").replace("an async context", "a context").replace("async context", "context")
    body: dict[str, Any] = {
        "__doc__": f"{doc}\n\n{runner.NOTE}",
        "__module__": _MODULE,
        "__init__": _compiled(
            inspect.getattr_static(source, "__init__"),
            "self._async = _source({given}); self._runner = _runner(_name)",
            {"_source": source, "_runner": runner, "_name": name, "_taken": _taken},
            wrapped=lambda _: "_taken",
        ),
    }
    makers = {key: member for key, member in members(source).items() if isinstance(member, classmethod)}
    for key, member in makers.items():
        body[key] = _maker(source, runner, member)
    return type(name, (), body | _blocking_members(source, parts or {}, [*makers]))


def _maker(source: type, runner: type[Runner], member: Any) -> classmethod[Any, Any, Any]:  # noqa: ANN401 - a class method
    """Return a class method that makes a face as one of `source` makes an object."""
    name = source.__name__
    made = _compiled(
        member.__func__,
        "\n self = cls.__new__(cls)\n self._async = _method(_source, {given})\n self._runner = _runner(_name)\n return self",
        {"_method": member.__func__, "_source": source, "_runner": runner, "_name": name, "_taken": _taken},
        wrapped=lambda parameter: "_later" if parameter in CALLED_LATER else "_taken",
    )
    made.__qualname__ = f"{name}.{made.__name__}"
    return classmethod(made)


def _blocking_part(source: type, parts: dict[str, type]) -> type:
    """Return the blocking face of what a method returns; its objects share the runner of the object that made them."""

    def __init__(self: Any, made: object, runner: Runner) -> None:  # noqa: ANN401, N807 - a method of the class made here
        self._async, self._runner = made, runner

    body: dict[str, Any] = {"__doc__": source.__doc__, "__module__": _MODULE, "__init__": __init__}
    return type(source.__name__, (), body | _blocking_members(source, parts))


def _blocking_members(source: type, parts: dict[str, type], besides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the blocking members of an async class, but for those that are made otherwise."""
    body: dict[str, Any] = {}
    for name, member in members(source).items():
        if name in besides:
            continue
        made: Any
        if name in parts and isinstance(member, property):
            made = _part_property(name, member, _blocking_part(parts[name], parts))
        elif name in parts:
            made = _part_maker(member, _blocking_part(parts[name], parts))
        else:
            made = _blocking_member(source, name, member)
        if inspect.isfunction(made):
            made.__qualname__ = f"{source.__name__}.{made.__name__}"  # also of what it inherits
        body[NAMES.get(name, name)] = made
    return body | _arrow_members(source)


def arrow_c_stream(self: Any, requested_schema: object = None) -> object:  # noqa: ANN401, ARG001 - whoever has batches
    """Return an "arrow_array_stream" capsule that reads as it is asked, in whatever thread; another schema cannot be had.

    Each call begins a read of its own. What goes wrong while it is read is the stream's last error, as text.
    """
    return arrow_stream(iter(self))


def _arrow_members(source: type) -> dict[str, Any]:
    return {"__arrow_c_stream__": arrow_c_stream} if hasattr(source, ARROW_SCHEMA) else {}


def _part_maker(member: Callable[..., Any], face: type) -> Callable[..., Any]:
    made = "_method(self._async, {given})"
    if inspect.iscoroutinefunction(member):
        made = f"self._runner.run({made})"
    return _compiled(member, f"return _face({made}, self._runner)", {"_method": member, "_face": face})


def _part_property(name: str, member: property, face: Callable[..., Any]) -> property:
    return property(lambda self: face(getattr(self._async, name), self._runner), doc=member.__doc__)


def blocking_protocol(source: type) -> type:
    """Return the blocking face of a protocol; `isinstance` looks for its methods, as with `source`."""
    body: dict[str, Any] = {"__doc__": source.__doc__, "__module__": _MODULE}
    for name, member in members(source).items():
        if inspect.isfunction(member):
            body[NAMES.get(name, name)] = _compiled(member, "raise NotImplementedError", {})
        elif isinstance(member, property):
            body[name] = member
    body |= _arrow_members(source)
    return runtime_checkable(types.new_class(source.__name__, (Protocol,), exec_body=lambda namespace: namespace.update(body)))


def _blocking_member(source: type, name: str, member: Any) -> Any:  # noqa: ANN401 - a descriptor of any kind
    if isinstance(member, property):
        return property(lambda self: getattr(self._async, name), doc=member.__doc__)
    if not inspect.isfunction(member):
        raise TypeError(f"{name}: aether.sync has no rule for a {type(member).__name__}")
    if name in _BODIES and not inspect.isasyncgenfunction(member):
        return _compiled(member, _BODIES[name], {"_method": member, "_Ended": _Ended})
    steps = getattr(source, f"_{name}_steps", None)
    if steps is not None:
        return _compiled(member, "\n for step in _steps(self._async, {given}):\n  self._runner.run(step)", {"_steps": steps})
    call = "_method(self._async, {given})"
    if inspect.isasyncgenfunction(member):
        call = f"return self._runner.iterate({call})"
    elif inspect.iscoroutinefunction(member):
        call = f"return self._runner.run({call})"
    else:
        call = f"return {call}"
    return _compiled(member, call, {"_method": member})


class _Ended(Exception):  # noqa: N818 - no error
    """An async iterator has come to its end: what says so to Python cannot pass through a future."""


_BODIES = {
    "__aenter__": "self._runner.run(_method(self._async)); return self",
    "__aiter__": "return self",
    "__anext__": """
 now = getattr(self._async, "_next_now", None)
 item = None if now is None else now()
 if item is not None:
  return item
 async def following():
  try:
   return await _method(self._async)
  except StopAsyncIteration:
   raise _Ended from None
 try:
  return self._runner.run(following())
 except _Ended:
  raise StopIteration from None""",
    "on": """
 decorate = _method(self._async, {given})
 def decorated(handler):
  decorate(_later(handler))
  return handler
 return decorated""",
}
"""Members with a rule of their own."""


def in_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a coroutine function that calls a function of the caller's in a thread, where it may block.

    Raises:
        TypeError: it is a coroutine function, which has no loop of the caller's to run on, or has a `yield` in it.
    """
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"aether.sync calls plain functions, and {function!r} is a coroutine function; those are for aether itself"
        )

    check_no_generator("the function", function)

    @functools.wraps(function)
    async def call(*args: Any) -> Any:  # noqa: ANN401 - passed on
        call_it = functools.partial(contextvars.copy_context().run, function, *args)
        return await asyncio.get_running_loop().run_in_executor(handler_threads(), call_it)

    return call


def _later(given: Any) -> Any:  # noqa: ANN401 - whatever the caller gave
    return in_thread(given) if callable(given) else given


def _compiled(
    member: Callable[..., Any], body: str, names: dict[str, Any], *, wrapped: Callable[[str], str] | None = None
) -> Callable[..., Any]:
    """Return a function with the name, signature and docstring of `member`; `{given}` in its body passes the arguments on.

    `wrapped` names the function, one of `names`, through which each argument is passed; "" for none.
    """
    name = NAMES.get(member.__name__, member.__name__)
    parameters = list(inspect.signature(member).parameters.values())
    wrapper = wrapped or (lambda parameter: "_later" if parameter in CALLED_LATER else "")
    given = ", ".join(_GIVEN[p.kind].format(p.name, _argument(wrapper(p.name), p)) for p in parameters[1:])
    # The text only says which parameters have a default; the defaults themselves are objects, those of `member`.
    shape = inspect.Signature(
        [p.replace(annotation=Parameter.empty, default=p.default if p.default is Parameter.empty else None) for p in parameters]
    )
    namespace = {**names, "_later": _later}
    exec(f"def {name}{shape}: {body.format(given=given)}", namespace)  # noqa: S102 - the text is made of our own signatures
    function = namespace[name]
    function.__defaults__, function.__kwdefaults__ = member.__defaults__, member.__kwdefaults__
    function.__qualname__ = f"{member.__qualname__.rpartition('.')[0]}.{name}"
    function.__module__, function.__doc__ = _MODULE, member.__doc__
    function.__annotations__ = {key: _plain(annotation) for key, annotation in member.__annotations__.items()}
    return function  # type: ignore[no-any-return]  # what exec defined


def _argument(wrapper: str, parameter: Parameter) -> str:
    single = parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return f"{wrapper}({parameter.name})" if wrapper and single else parameter.name


_GIVEN = {
    Parameter.POSITIONAL_ONLY: "{1}",
    Parameter.POSITIONAL_OR_KEYWORD: "{1}",
    Parameter.VAR_POSITIONAL: "*{1}",
    Parameter.KEYWORD_ONLY: "{0}={1}",
    Parameter.VAR_KEYWORD: "**{1}",
}
"""How a parameter of each kind is passed on."""


def _taken(value: Any) -> Any:  # noqa: ANN401 - whatever the caller gave
    """Return the async object of a blocking face, any other value as it is; refuse what belongs to an event loop not ours."""
    if isinstance(value, Client):
        raise TypeError("aether.sync takes a URL; a nats-py client belongs to the event loop that connected it")
    return getattr(value, "_async", value)


def _plain(annotation: Any) -> Any:  # noqa: ANN401 - a string, as annotations are in every module here
    return annotation.replace("AsyncIterator[", "Iterator[") if isinstance(annotation, str) else annotation
