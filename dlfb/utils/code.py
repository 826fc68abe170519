"""Digests of functions and classes: what they do, whatever file and line they stand in.

Code is compiled code, so comments, formatting and a docstring do not count, but another
minor version of Python does.
"""

import dis
import hashlib
import inspect
import types

from dlfb.utils.packing import type_name


def digest(*parts: str) -> str:
    """Return the SHA-256 of a list of texts, so that no two lists give the same input."""
    total = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        total.update(len(encoded).to_bytes(8, "little") + encoded)
    return total.hexdigest()


def code_digest(function: types.FunctionType) -> str:
    """Return a digest of a function's code and that of the functions around it that it uses.

    These are the functions of the same module that it reaches by their global names,
    directly or through one another; also where they are under ``jax.jit`` and the like.
    """
    todo, done, parts = [function], set(), []
    while todo:
        current = todo.pop()
        if id(current) in done:
            continue
        done.add(id(current))
        parts += [current.__qualname__, _digest_of(current.__code__, current.__doc__)]
        for name in _global_names(current.__code__):
            helper = current.__globals__.get(name)
            helper = getattr(helper, "__wrapped__", helper)
            if isinstance(helper, types.FunctionType) and helper.__globals__ is current.__globals__:
                todo.append(helper)
    return digest(*parts)


def class_digest(cls: type) -> str:
    """Return a digest of a class: its name, its bases' names, and its own methods' code."""
    parts = [type_name(base) for base in cls.__mro__]
    for base in cls.__mro__:
        if base.__module__ != cls.__module__ or base.__module__ == "builtins":
            continue
        for name, member in sorted(vars(base).items()):
            member = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
            member = inspect.unwrap(member) if callable(member) else member
            # What dataclasses generate is compiled from "<string>" and says nothing new.
            if isinstance(member, types.FunctionType) and member.__code__.co_filename != "<string>":
                parts += [name, code_digest(member)]
    return digest(*parts)


def _digest_of(code: types.CodeType, doc: str | None = None) -> str:
    constants = list(code.co_consts)
    if constants and constants[0] == doc:
        constants[0] = None
    names = (code.co_names, code.co_varnames, code.co_freevars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    described = (_describe(constant) for constant in constants)
    return digest(code.co_code.hex(), repr(names), repr(counts), *described)


def _describe(constant: object) -> str:
    if isinstance(constant, types.CodeType):
        return _digest_of(constant)
    if isinstance(constant, frozenset):  # Its order depends on the hash seed.
        return f"frozenset {sorted(map(repr, constant))}"
    return repr(constant)


def _global_names(code: types.CodeType) -> list[str]:
    names = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(_global_names(constant))
    return sorted(names)
