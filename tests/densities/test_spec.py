"""A method is what its spelling says: every argument comes back from its name as it was."""

from __future__ import annotations

import numpy as np
import pytest

from lde_bench.densities.spec import MethodSpec, parse_method
from lde_bench.errors import InputError


@pytest.mark.parametrize(
    "value",
    [
        *(10, 0.5, 1e-12, True, None),
        *(
            "mlp",
            "10",
            "0.5",
            "true",
            "null",
            "a,b",
            "[1",
            "",
            " a ",
            'a "quoted" one',
            "a=b+c:d",
            "a\nb",
            '"',
            "\\",
            "a,",
        ),
        *([1, 2], [[1, 2], [3, 4]], ["a,b", "c"], {"k": 1, "l": [2, "x]y"]}, [], {}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ["lde", "a.b:C"])
def test_what_is_spelled_is_parsed_again(name, value):
    spec = MethodSpec(name, ("w",), {"first": value, "other": 3})
    again = parse_method(str(spec))
    assert again == spec
    assert type(again.arguments["first"]) is type(value)
    assert str(again) == str(spec)


def test_text_and_number_are_not_spelled_alike():
    assert str(MethodSpec("lde", (), {"x": "10"})) != str(MethodSpec("lde", (), {"x": 10}))
    assert str(MethodSpec("lde", (), {"x": "mlp"})) == "lde:x=mlp"


def test_a_number_of_numpys_is_a_number():
    assert str(MethodSpec("gmm", (), {"components": np.int64(3), "x": np.float32(0.5)})) == "gmm:components=3,x=0.5"


def test_what_has_no_spelling_is_one_sentence():
    with pytest.raises(InputError, match=r"x = <object .* cannot be spelled in the name of a method; give a number"):
        str(MethodSpec("lde", (), {"x": object()}))


@pytest.mark.parametrize("method", ["lde+w+w", "lde+sym+w+sym", "my.models:Best+w+w"])
def test_a_wrapper_that_stands_twice_is_refused(method):
    with pytest.raises(InputError, match=r"\+(w|sym) is there twice; leave out one"):
        parse_method(method)
