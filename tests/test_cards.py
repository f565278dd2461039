from __future__ import annotations

import pytest

from lde_bench.cards import check_method, describe_method, method_cards
from lde_bench.densities import describe_method as describe_density
from lde_bench.errors import InputError
from lde_bench.generators import generator_classes


def test_a_model_of_images_is_told_by_its_card_and_the_density_of_its_codes_behind_it():
    ae = generator_classes()["ae"].card.summary
    assert describe_method("ae+lde+w:latent=4") == f"{ae}; on its codes, {describe_density('lde+w')}"
    assert describe_method("gmmn+ae") == generator_classes()["gmmn+ae"].card.summary
    assert describe_method("lde+w") == describe_density("lde+w") != "lde+w"
    for label in ("nobody.knows:Me", "a\nb"):
        assert describe_method(label) == label


def test_the_cards_are_those_of_every_part_and_none_of_a_users_class():
    assert list(method_cards("iae+gmm+w:latent=4")) == ["iae", "gmm", "w"]
    assert list(method_cards("gmmn+ae")) == ["gmmn+ae"]
    assert list(method_cards("ae+nobody.knows:Me")) == ["ae"]
    assert method_cards("lde+nowrapper") == {}


@pytest.mark.parametrize(
    ("label", "nearest"), [("iea", "'iae'"), ("gausian", "'gaussian'"), ("ae+gausian", "'gaussian'"), ("lde+x", r"\+w")]
)
def test_an_unknown_method_is_told_with_the_nearest(label, nearest):
    with pytest.raises(InputError, match=nearest):
        check_method(label)


@pytest.mark.parametrize("label", ["vae:beta=2", "iae+lde+w", "gmm:components=3", "kmeans"])
def test_a_known_method_is_let_pass(label):
    check_method(label)
