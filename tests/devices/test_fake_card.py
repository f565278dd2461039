"""The fake card refuses what a GPU refuses, and says of every tensor where it is."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from fake_card import FakeCard, fake_card

TWO_DEVICES = "Expected all tensors to be on the same device"


@pytest.fixture(autouse=True)
def card() -> Iterator[FakeCard]:
    with fake_card() as card:
        yield card


def on_card(*shape: int) -> torch.Tensor:
    return torch.ones(shape, device="cuda")


class Forgetful(torch.autograd.Function):
    """Its backward pass mixes in a tensor of the host."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.ones(3)


def backward() -> None:
    Forgetful.apply(on_card(3).requires_grad_()).sum().backward()


def index_of_the_card() -> None:
    torch.ones(3)[torch.zeros(2, dtype=torch.int64, device="cuda")]


@pytest.mark.parametrize(
    ("mistake", "error", "message"),
    [
        (lambda: on_card(3) + torch.ones(3), RuntimeError, TWO_DEVICES),
        (lambda: on_card(2, 3) @ torch.ones(3), RuntimeError, TWO_DEVICES),
        (lambda: torch.cat([on_card(2), torch.ones(2)]), RuntimeError, TWO_DEVICES),
        (lambda: torch.stack([on_card(), torch.ones(())]), RuntimeError, TWO_DEVICES),
        (lambda: torch.zeros(()).add_(on_card()), RuntimeError, TWO_DEVICES),
        (lambda: torch.nn.Linear(3, 2)(on_card(1, 3)), RuntimeError, TWO_DEVICES),
        (lambda: torch.nn.Linear(3, 2).to("cuda")(torch.ones(1, 3)), RuntimeError, TWO_DEVICES),
        (lambda: torch.equal(on_card(2), torch.ones(2)), RuntimeError, TWO_DEVICES),
        (index_of_the_card, RuntimeError, TWO_DEVICES),
        (backward, RuntimeError, TWO_DEVICES),
        (lambda: on_card(3).numpy(), TypeError, "can't convert cuda:0"),
        (lambda: np.asarray(on_card(3)), TypeError, "can't convert cuda:0"),
        (lambda: torch.randn(3, device="cuda", generator=torch.Generator()), RuntimeError, "for generator"),
        (lambda: torch.randn(3, generator=torch.Generator("cuda")), RuntimeError, "for generator"),
        (lambda: on_card(3).normal_(generator=torch.Generator()), RuntimeError, "for generator"),
        (lambda: torch.multinomial(on_card(3), 1, generator=torch.Generator()), RuntimeError, "for generator"),
    ],
)
def test_what_a_gpu_refuses_is_refused(mistake: Callable[[], object], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        mistake()


@pytest.mark.parametrize(
    "made",
    [
        lambda: on_card(3) + torch.tensor(2.0),
        lambda: on_card(3)[torch.tensor([0, 1])],
        lambda: on_card(3).masked_fill(on_card(3) > 0, torch.tensor(2.0)),
        lambda: torch.ones(3).to("cuda"),
        lambda: torch.ones(3).to(on_card(1)),
        lambda: torch.ones(3).cuda(),
        lambda: torch.as_tensor(np.ones(3), device="cuda"),
        lambda: torch.tensor([1.0], device=torch.device("cuda")),
        lambda: torch.empty_like(torch.ones(2), device="cuda"),
        lambda: on_card(3).new_zeros(2),
        lambda: on_card(2, 3)[1:].double(),
        lambda: copy.deepcopy(on_card(3)),
        lambda: torch.nn.Linear(3, 2).to(on_card(1)).weight,
        lambda: torch.nn.functional.softmax(on_card(3), 0),
        lambda: torch.randn(3, device="cuda", generator=torch.Generator("cuda").manual_seed(0)),
        lambda: torch.ones(3, device="cuda").copy_(torch.zeros(3)),
    ],
)
def test_what_is_made_on_the_card_is_there(made: Callable[[], torch.Tensor]):
    found = made()
    assert found.device == torch.device("cuda", 0)
    assert found.is_cuda
    assert found.cpu().device.type == "cpu"
    assert torch.empty(3).copy_(found.flatten()[0]).device.type == "cpu"


def test_gradients_and_the_state_of_an_optimiser_are_on_the_card():
    layer = torch.nn.Linear(3, 1).to("cuda")
    optimizer = torch.optim.Adam(layer.parameters())
    layer(on_card(2, 3)).sum().backward()
    optimizer.step()
    assert layer.weight.grad.device.type == "cuda"
    assert optimizer.state[layer.weight]["exp_avg"].device.type == "cuda"


def test_a_copy_on_the_other_side_shares_no_memory_and_what_is_there_is_no_copy():
    x = torch.zeros(3)
    there = x.to("cuda")
    x += 1
    assert there.tolist() == [0, 0, 0]
    assert there.to("cuda") is there
    assert x.cpu() is x


def test_a_file_of_tensors_of_the_card_needs_to_be_told_where_to_load_them():
    file = io.BytesIO()
    torch.save({"x": on_card(3)}, file)
    file.seek(0)
    assert torch.load(file, map_location="cpu", weights_only=True)["x"].device.type == "cpu"
    file.seek(0)
    # As a torch without CUDA says it, one that finds no card, and one that has one.
    without_card = "CUDA" if torch.version.cuda is None else "CUDA device 0"
    told = "cuda:0" if torch.cuda.device_count() else without_card
    with pytest.raises((RuntimeError, AssertionError), match=told):
        torch.load(file, weights_only=True)


def test_the_card_has_a_global_generator_of_its_own(card: FakeCard):
    card.random_state = torch.Generator().get_state()
    torch.manual_seed(0)
    here, there = torch.rand(3), torch.rand(3, device="cuda")
    assert torch.equal(here, there.cpu())  # both were seeded
    state = torch.cuda.get_rng_state()
    first = torch.rand(3, device="cuda")
    torch.rand(5)
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.rand(3, device="cuda"), first)
