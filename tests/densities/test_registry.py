from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import lde_bench as lb
from lde_bench import densities
from lde_bench.densities import density_class, density_classes, density_names, is_wrapper, takes_argument
from lde_bench.densities.base import Density, _usual_parameters
from lde_bench.densities.spec import MethodSpec, parse_method
from lde_bench.densities.whitened import Whitened
from lde_bench.errors import InputError
from lde_bench.evaluation.laws.suite import skewed_rows
from lde_bench.training.model import Card
from lde_bench.training.plan import LONG_SECONDS, LONG_STEPS, PROFILES, Budget, Plan, plan_of

# -- spelling ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("lde", MethodSpec("lde")),
        ("lde+w", MethodSpec("lde", ("w",))),
        ("gmm:components=200", MethodSpec("gmm", (), {"components": 200})),
        ("lde+w:components=10,rate=0.5", MethodSpec("lde", ("w",), {"components": 10, "rate": 0.5})),
        (" gmm:init=scale ", MethodSpec("gmm", (), {"init": "scale"})),
        ("a+b+c:x=true,y=null", MethodSpec("a", ("b", "c"), {"x": True, "y": None})),
    ],
)
def test_methods_are_parsed_and_spelled_back(text, spec):
    assert parse_method(text) == spec
    assert parse_method(str(spec)) == spec


@pytest.mark.parametrize(
    "text", ["", "+w", "lde+", "lde:components", "lde:=3", "lde:components=", "l de", "lde:a=1,a=2"]
)
def test_a_bad_spelling_is_an_input_error(text):
    with pytest.raises(InputError, match="method"):
        parse_method(text)


def test_the_label_leaves_out_the_components_alone():
    assert parse_method("gmm+w:components=200,init=scale").label == "gmm+w:init=scale"
    assert parse_method("lde:components=3").label == "lde"


def test_arguments_that_are_spelled_out_win():
    assert parse_method("gmm:components=200").with_arguments(components=3, init="scale").arguments == {
        "components": 200,
        "init": "scale",
    }


# -- the registry ----------------------------------------------------------------------------------------------


def test_the_densities_of_the_package_are_found():
    assert {"gaussian", "gmm", "made-mog", "resmade-mog", "lde"} <= set(density_names())
    assert "w" not in density_names()
    assert is_wrapper(density_class("w", wrapper=True))


@pytest.mark.parametrize("name", density_names())
def test_every_density_says_what_it_is_and_how_it_is_trained(name):
    kind = density_class(name)
    assert kind.__doc__
    assert all((kind.card.summary, kind.card.source, kind.card.sample_cost))
    assert set(PROFILES) - {"long"} <= set(kind.plans) <= set(PROFILES)


@pytest.mark.parametrize("name", density_names())
def test_a_long_run_takes_at_most_two_hours_and_more_steps_than_a_standard_one(name):
    standard, long = (plan_of(density_class(name).plans, profile) for profile in ("standard", "long"))
    assert long.reference_seconds <= LONG_SECONDS
    assert long.closed_form or long.steps > 4 * standard.steps


def test_a_long_run_on_codes_is_the_lengthened_plan_for_codes():
    density = lb.create("lde", features=8)
    standard, long = (density.code_plan(Budget.of(profile)) for profile in ("standard", "long"))
    assert standard.steps != density.plan(Budget.of(profile="standard")).steps
    assert long.steps == LONG_STEPS * standard.steps


@pytest.mark.parametrize("name", density_names())
def test_a_density_at_its_usual_arguments_has_the_usual_size(name):
    density = lb.create(name, features=63)
    assert density.size == lb.create(f"{name}+w", features=63).size == 1
    state = torch.get_rng_state()
    _usual_parameters.cache_clear()
    assert density.size == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_no_other_model_is_made_to_tell_a_plan_that_size_does_not_change():
    _usual_parameters.cache_clear()
    lb.create("tan", features=63).plan(Budget.of("standard"))
    lb.create("resmade-mog", features=63).plan(Budget.of("long"))
    assert _usual_parameters.cache_info().currsize == 0


def test_a_larger_one_is_foreseen_to_take_longer_and_its_long_run_keeps_to_two_hours():
    long = Budget.of("long")
    small, large = lb.create("tan", features=63), lb.create("tan+w", features=63, hidden=256)
    assert large.size > 5
    assert large.plan(long).steps < 0.6 * small.plan(long).steps
    assert large.expected_seconds(long) == pytest.approx(LONG_SECONDS, rel=0.01)
    assert lb.create("lde", features=63, components=2).size == 1


@pytest.mark.parametrize("name", density_names())
@pytest.mark.parametrize("features", [1, 2, 63])
def test_every_density_is_created_with_its_parameters_before_any_fit(name, features):
    density = lb.create(name, features=features)
    assert density.features == features
    assert density.parameter_count() > 0
    assert not density.training
    assert density.log_prob(np.zeros((2, features))).shape == (2,)


@pytest.mark.parametrize(
    ("method", "hint"), [("ldee", "did you mean 'lde'"), ("GMM", "choose one of"), ("made", "did you mean 'made-mog'")]
)
def test_an_unknown_method_names_the_nearest(method, hint):
    with pytest.raises(InputError, match=hint):
        lb.create(method, features=3)


def test_an_unknown_wrapper_or_argument_is_an_input_error():
    with pytest.raises(InputError, match=r"wrapper '\+white' is unknown"):
        lb.create("lde+white", features=3)
    with pytest.raises(InputError, match="has no argument 'component'; did you mean 'components'"):
        lb.create("lde:component=3", features=3)
    with pytest.raises(InputError, match="gaussian has no argument 'components'; it takes no arguments"):
        lb.create("gaussian", features=3, components=3)


@pytest.mark.parametrize("features", [0, -1, 2.0, True, "63", None])
def test_a_bad_number_of_features_is_an_input_error(features):
    with pytest.raises(InputError, match="features = "):
        lb.create("lde", features=features)


def test_a_spelled_argument_wins_over_a_keyword():
    assert lb.create("lde:components=4", features=3, components=9).components == 4


def test_which_methods_take_components():
    assert takes_argument(parse_method("lde+w"), "components")
    assert not takes_argument(parse_method("gaussian"), "components")


# -- saving and loading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lde+w:components=2", "gaussian", "gmm:components=2,init=scale"])
def test_a_fitted_density_is_loaded_to_the_bit(tmp_path, method):
    rows = skewed_rows(100, 4, 0)
    density = lb.create(method, 4).fit(rows, steps=3)
    density.save(tmp_path / "here" / "d.safetensors")
    loaded = lb.load_density(tmp_path / "here" / "d.safetensors")
    np.testing.assert_array_equal(loaded.log_prob(rows), density.log_prob(rows))
    np.testing.assert_array_equal(loaded.sample(9, seed=1), density.sample(9, seed=1))
    assert loaded.config == density.config
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["d.safetensors"]


def test_a_float64_density_is_loaded_in_float64(tmp_path):
    density = lb.create("lde+w", 4).double()
    density.save(tmp_path / "d")
    assert lb.load_density(tmp_path / "d").dtype == torch.float64


class Ordered(Density):
    """A density whose first saved tensor is one of whole numbers."""

    name = "ordered"
    card = Card("ordered", "none", "none")
    plans = dict.fromkeys(PROFILES, Plan(steps=1))

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.register_buffer("a_order", torch.arange(features))
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, self.a_order] - self.shift).square().sum(-1)


def test_whole_numbers_among_the_weights_do_not_decide_the_dtype(tmp_path, monkeypatch):
    monkeypatch.setattr(densities, "density_classes", lambda: {**density_classes(), "ordered": Ordered})
    density = lb.create("ordered", 3).double()
    density.save(tmp_path / "d")
    loaded = lb.load_density(tmp_path / "d")
    assert loaded.dtype == torch.float64
    assert loaded.a_order.dtype == torch.int64


def test_a_file_that_holds_no_density_is_an_input_error(tmp_path):
    whole = tmp_path / "whole"
    lb.create("gaussian", 3).save(whole)
    (tmp_path / "truncated").write_bytes(whole.read_bytes()[:-5])
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    save_file({"x": torch.zeros(3)}, tmp_path / "bare")
    for config in ("{}", "not json", json.dumps({"method": "lde", "features": 3}), json.dumps(["lde"])):
        save_file({"x": torch.zeros(3)}, tmp_path / "other", {"lde_bench": config})
        with pytest.raises(InputError, match="other"):
            lb.load_density(tmp_path / "other")
    save_file({"x": torch.zeros(3)}, tmp_path / "newer", {"lde_bench": json.dumps({"method": "ldx", "features": 3})})
    for name in ("missing", "truncated", "text", "empty", "bare", "newer"):
        with pytest.raises(InputError, match=name):
            lb.load_density(tmp_path / name)


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        lb.create("gaussian", 3).save(tmp_path / "file" / "d")


def test_a_density_that_create_did_not_make_is_not_saved(tmp_path):
    with pytest.raises(InputError, match=r"lde_bench\.create"):
        Whitened(lb.create("gaussian", 3)).save(tmp_path / "d")
    assert not list(tmp_path.iterdir())


# -- log_prob and sample --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 2), (1, 2, 3), ()])
def test_a_wrong_shape_is_an_input_error_for_arrays_and_tensors(shape):
    density = lb.create("lde", 3)
    with pytest.raises(InputError, match=r"log_prob should be \[n, 3\]"):
        density.log_prob(np.zeros(shape))
    with pytest.raises(InputError, match=r"log_prob should be \[n, 3\]"):
        density.log_prob(torch.zeros(shape))


def test_log_prob_of_an_array_is_detached_and_that_of_a_tensor_has_a_gradient():
    density = lb.create("lde", 3)
    assert isinstance(density.log_prob(np.zeros((2, 3))), np.ndarray)
    x = torch.zeros(2, 3, requires_grad=True)
    density.log_prob(x).sum().backward()
    assert x.grad.any()


@pytest.mark.parametrize("n", [-1, 2.5, True, "3", None])
def test_a_bad_number_of_samples_is_an_input_error(n):
    with pytest.raises(InputError, match="cannot draw"):
        lb.create("gaussian", 3).sample(n)


def test_more_samples_than_a_block_are_drawn_and_begin_alike(monkeypatch):
    from lde_bench.training import model

    density = lb.create("made-mog", 3, hidden=8)
    monkeypatch.setattr(model, "SAMPLE_ROWS", 10)
    many = density.sample(25, seed=0)
    assert many.shape == (25, 3)
    assert len(np.unique(many, axis=0)) == 25
    np.testing.assert_array_equal(many[:20], density.sample(20, seed=0))
