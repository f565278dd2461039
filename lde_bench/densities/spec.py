"""How a method is spelled: `name[+wrapper...][:key=value,...]`, as in `lde+w` or `gmm:components=200`.

The name of a class of a user's own is `package.module:Class`, as in `zuko.flows:NSF+w:transforms=3`.

Imports no torch, so the command line can check a spelling before it computes anything.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lde_bench.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: `package.module:Class`, with what may stand behind it.
_EXTERNAL = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*)((?:\+[^:=]*)?)(?::(.*))?")
#: What nests in a value, and ends; text in quotes is passed over.
_QUOTED, _OPENS, _CLOSES = re.compile(r'"(?:[^"\\]|\\.)*"'), "[{", "]}"
#: Text with one of these is spelled in quotes.
_TELLING = set(',"[]{}')


@dataclass(frozen=True)
class MethodSpec:
    """A method's name, the wrappers around it from the inside out, and its arguments."""

    name: str
    wrappers: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The row label: name, wrappers and every argument but `components`, which has a column of its own."""
        rest = {key: value for key, value in self.arguments.items() if key != "components"}
        return self._spell(rest)

    def __str__(self) -> str:
        return self._spell(self.arguments)

    def _spell(self, arguments: dict[str, Any]) -> str:
        head = "+".join((self.name, *self.wrappers))
        tail = ",".join(f"{key}={_spell_value(key, value)}" for key, value in sorted(arguments.items()))
        return f"{head}:{tail}" if tail else head

    def with_arguments(self, **arguments: Any) -> MethodSpec:
        """The same method with further arguments; those already spelled out win."""
        return MethodSpec(self.name, self.wrappers, {**arguments, **self.arguments})


def _spell_value(key: str, value: Any) -> str:
    """The text that `parse_value` makes this value of."""
    if isinstance(value, str):
        plain = value == value.strip() != "" and not _TELLING & set(value) and value.isprintable()
        plain = plain and parse_value(value) == value
        return value if plain else json.dumps(value)
    try:
        return json.dumps(value, separators=(",", ":"), default=_of_numpy)
    except TypeError as error:
        raise InputError(
            f"{key} = {value!r} cannot be spelled in the name of a method; give a number, a text, true or false, or a "
            "list of such."
        ) from error


def _of_numpy(value: Any) -> Any:
    """A number of NumPy's as Python's."""
    import numpy as np  # which the command line need not wait for

    if isinstance(value, np.generic):
        return value.item()
    raise TypeError


def _arguments_of(tail: str) -> list[str]:
    """The parts between the commas that stand in no list, no object and no quotes."""
    parts, depth, start, place = [], 0, 0, 0
    while place < len(tail):
        if quoted := _QUOTED.match(tail, place):
            place = quoted.end()
            continue
        sign = tail[place]
        depth += (sign in _OPENS) - (sign in _CLOSES)
        if sign == "," and depth <= 0:
            parts.append(tail[start:place])
            start = place + 1
        place += 1
    return [*parts, tail[start:]]


def parse_value(text: str) -> Any:
    """`10` -> 10, `0.5` -> 0.5, `true` -> True, anything else a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_own_name(name: str) -> bool:
    """Whether `lde:components` is a method of this package with half an argument, and no class."""
    module, _, rest = name.partition(":")
    return rest[0].islower() and (Path(__file__).parent / f"{module}.py").exists()


def parse_method(text: str) -> MethodSpec:
    """Parse a spelled method.

    Raises:
        InputError: the spelling is not `name[+wrapper...][:key=value,...]`.
    """
    external = _EXTERNAL.fullmatch(text.strip())
    if external and not _is_own_name(external[1]):
        name, wrappers, tail = external[1], external[2].split("+")[1:], external[3] or ""
    else:
        head, _, tail = text.strip().partition(":")
        name, *wrappers = head.split("+")
    # The name of a class has its own form, which was matched.
    if not all(_NAME.fullmatch(part) for part in (name.replace(":", "").lstrip("_"), *wrappers)):
        raise InputError(
            f"method '{text}' is not spelled name[+wrapper...][:key=value,...]; write it as in 'lde+w', "
            "'gmm:components=200' or 'package.module:Class'."
        )
    if twice := next((each for each in wrappers if wrappers.count(each) > 1), None):
        raise InputError(f"method '{text}': +{twice} is there twice; leave out one.")
    arguments: dict[str, Any] = {}
    for item in filter(None, _arguments_of(tail)):
        key, equals, value = item.partition("=")
        if not equals or not key.strip().isidentifier() or not value.strip():
            raise InputError(f"method '{text}': '{item}' is not key=value; write arguments as in 'gmm:components=200'.")
        if key.strip() in arguments:
            raise InputError(f"method '{text}': '{key.strip()}' is given twice; keep one of them.")
        arguments[key.strip()] = parse_value(value.strip())
    return MethodSpec(name, tuple(wrappers), arguments)
