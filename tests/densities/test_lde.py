"""The LDE against an independent transcription of the paper's layout: Conv1d over the zero-padded sequence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import lde_bench as lb
from lde_bench.densities.lde import LDE
from lde_bench.densities.mixture import AutoregressiveMixture

WIDTHS = (1, 2, 3, 7, 63, 64)


class PlainLDE(nn.Module):
    """yoojy31/unpriortized-autoencoder as described in arXiv 1902.04294: channels (z, mask), 2^L zeros in front."""

    def __init__(self, lde: LDE) -> None:
        super().__init__()
        depth = len(lde.layers)
        self.zeros = 2**depth
        blocks: list[nn.Module] = []
        inputs = 2
        for k in range(depth):
            outputs = 16 * 2**k
            conv = nn.Conv1d(inputs, outputs, kernel_size=2, dilation=2**k)
            weight = lde.layers[k].linear.weight.detach()
            norm = nn.BatchNorm1d(outputs)
            norm.load_state_dict(lde.layers[k].norm.state_dict())
            with torch.no_grad():
                conv.weight.copy_(torch.stack([weight[:, :inputs], weight[:, inputs:]], -1))
                conv.bias.copy_(lde.layers[k].linear.bias)
            blocks += [conv, norm, nn.LeakyReLU(0.2)]
            inputs = outputs
        head = nn.Conv1d(inputs, lde.head.out_features, kernel_size=1)
        with torch.no_grad():
            head.weight.copy_(lde.head.weight.unsqueeze(-1))
            head.bias.copy_(lde.head.bias)
        self.network = nn.Sequential(*blocks, head)
        self.to(lde.dtype)

    def forward(self, x: Tensor) -> Tensor:
        batch, features = x.shape
        channels = x.new_zeros(batch, 2, self.zeros + features - 1)
        channels[:, 0, self.zeros :] = x[:, :-1]
        channels[:, 1, self.zeros :] = 1
        logits, means, log_sigmas = self.network(channels).transpose(1, 2).chunk(3, -1)  # [B, D, K] each
        log_normal = (
            -0.5 * ((x.unsqueeze(-1) - means) / log_sigmas.exp()) ** 2 - log_sigmas - 0.5 * math.log(2 * math.pi)
        )
        return torch.logsumexp(torch.log_softmax(logits, -1) + log_normal, -1).sum(-1)


def awake(features: int, components: int = 4, dtype: torch.dtype = torch.float64) -> LDE:
    """An LDE whose weights, biases and running statistics are all random."""
    generator = torch.Generator().manual_seed(features)
    lde = lb.create("lde", features=features, components=components)
    assert isinstance(lde, LDE)
    for name, value in lde.state_dict().items():
        if value.is_floating_point() and value.ndim:  # the unit stays 1
            noise = torch.randn(value.shape, generator=generator)
            if "running_var" in name:
                value.copy_(noise.abs() + 0.5)
            elif value.ndim == 1:
                value.add_(0.3 * noise)
            else:
                value.copy_(noise / value.shape[1] ** 0.5)
    return lde.to(dtype)


def rows(n: int, features: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def test_it_has_the_published_number_of_parameters():
    assert lb.create("lde", features=63, components=30).parameter_count() == 398_442


@pytest.mark.parametrize("features", [*WIDTHS, 4, 5, 8, 9, 128, 129])
def test_it_has_ceil_log2_layers_that_double(features):
    layers = lb.create("lde", features=features).layers
    assert len(layers) == max(1, math.ceil(math.log2(features)))
    assert [layer.dilation for layer in layers] == [2**k for k in range(len(layers))]
    assert [layer.linear.out_features for layer in layers] == [16 * 2**k for k in range(len(layers))]


@pytest.mark.parametrize("features", WIDTHS)
def test_it_agrees_with_the_papers_layout_in_evaluation_mode(features):
    lde, x = awake(features), rows(9, features)
    plain = PlainLDE(lde).eval()
    torch.testing.assert_close(lde.log_prob(x), plain(x), rtol=1e-9, atol=0)
    single = awake(features, dtype=torch.float32)
    torch.testing.assert_close(single.log_prob(x.float()), PlainLDE(single).eval()(x.float()), rtol=1e-5, atol=0)


@pytest.mark.parametrize("features", WIDTHS[1:])
def test_it_agrees_with_the_papers_layout_in_training_mode(features):
    # Statistics of the batch, over the zeros in front too. (A single feature has no column to take statistics of.)
    lde, x = awake(features), rows(9, features)
    plain = PlainLDE(lde).train()
    torch.testing.assert_close(lde.train()(x), plain(x), rtol=1e-9, atol=0)
    for layer, norm in zip(lde.layers, list(plain.network)[1::3], strict=True):
        torch.testing.assert_close(layer.norm.running_mean, norm.running_mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(layer.norm.running_var, norm.running_var, rtol=1e-9, atol=1e-12)
        assert layer.norm.num_batches_tracked == norm.num_batches_tracked
    single = awake(features, dtype=torch.float32).train()
    torch.testing.assert_close(single(x.float()), PlainLDE(single).train()(x.float()), rtol=1e-5, atol=0)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("features", WIDTHS[1:])
def test_its_gradients_agree_with_the_papers_layout(features, training):
    lde, plain_x = awake(features), rows(9, features).requires_grad_()
    x = plain_x.detach().clone().requires_grad_()
    plain = PlainLDE(lde).train(training)
    weights = torch.linspace(-1, 2, 9, dtype=torch.float64)  # every row pulls differently
    (lde.train(training)(x) * weights).sum().backward()
    (plain(plain_x) * weights).sum().backward()

    def close(mine: Tensor, theirs: Tensor) -> None:
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9 * max(1.0, theirs.abs().max().item()))

    close(x.grad, plain_x.grad)
    for k, layer in enumerate(lde.layers):
        conv, norm = plain.network[3 * k], plain.network[3 * k + 1]
        close(layer.linear.weight.grad, torch.cat([conv.weight.grad[..., 0], conv.weight.grad[..., 1]], 1))
        close(layer.linear.bias.grad, conv.bias.grad)
        close(layer.norm.weight.grad, norm.weight.grad)
        close(layer.norm.bias.grad, norm.bias.grad)
    close(lde.head.weight.grad, plain.network[-1].weight.grad.squeeze(-1))
    close(lde.head.bias.grad, plain.network[-1].bias.grad)


@pytest.mark.parametrize("features", [2, 7])
def test_its_hand_written_gradients_pass_gradcheck(features):
    lde = awake(features, components=2)
    assert torch.autograd.gradcheck(lde.train(), rows(5, features).requires_grad_(), atol=1e-5)
    assert torch.autograd.gradcheck(lde.eval(), rows(5, features).requires_grad_(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("features", WIDTHS)
def test_sampling_with_the_causal_state_kept_equals_rerunning_the_network(features):
    lde = awake(features)
    naive = AutoregressiveMixture.draw
    with torch.no_grad():
        kept = lde.draw(5, torch.Generator().manual_seed(0))
        rerun = naive(lde, 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(kept, rerun, rtol=1e-12, atol=1e-12)


def test_a_bfloat16_step_keeps_a_float32_head():
    lde = awake(7, dtype=torch.float32).train()
    with torch.autocast("cpu", torch.bfloat16):
        log_p = lde(rows(9, 7, torch.float32))
    assert log_p.dtype == torch.float32
    log_p.sum().backward()
    exact = awake(7).train()(rows(9, 7))
    assert (log_p.double() - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(torch.isfinite(parameter.grad).all() for parameter in lde.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_training_step_is_the_eager_one(precision):
    # `aot_eager` traces and functionalises as inductor does, and needs no C++ compiler.
    lde = lb.create("lde", features=9, components=3).train()
    x = torch.randn(16, 9)
    found: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    for function in (lde, torch.compile(lde, backend="aot_eager")):
        state = {name: value.clone() for name, value in lde.state_dict().items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = -function(x).mean()
        by_parameter = zip(dict(lde.named_parameters()), torch.autograd.grad(loss, list(lde.parameters())), strict=True)
        buffers = {name: value.clone() for name, value in lde.named_buffers()}
        found.append(({"loss": loss.detach(), **buffers}, dict(by_parameter)))
        lde.load_state_dict(state)
    (values, gradients), (compiled_values, compiled_gradients) = found
    rounding = torch.finfo(torch.float32 if precision == "fp32" else torch.bfloat16).eps

    def close(name: str, compiled: Tensor, eager: Tensor, size: float, layers: int) -> None:
        # Backward, a layer rounds what it hands down five times (activation, norm, its two corrections, product), by
        # half a unit each, and the two versions need not round alike: 5 units a layer. Forward rounds less often.
        atol = 5 * layers * rounding * size
        torch.testing.assert_close(compiled, eager, rtol=0, atol=atol, msg=lambda text: f"{name}: {text}")

    for name, value in values.items():
        close(name, compiled_values[name], value, float(value.abs().max()), 1)
    # A gradient sums what was handed down over the rows of the batch. The sum for a bias in front of BatchNorm is zero
    # but for rounding, which is as large as the terms make it: the size that counts is that of the largest gradient of
    # the module, a sum of the same terms.
    for name, gradient in gradients.items():
        module = name.rpartition(".")[0]
        size = max(float(other.abs().max()) for key, other in gradients.items() if key.rpartition(".")[0] == module)
        passed = 1 + (len(lde.layers) - int(name.split(".")[1]) if name.startswith("layers.") else 0)
        close(name, compiled_gradients[name], gradient, size, passed)
