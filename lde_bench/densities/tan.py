"""Transformation autoregressive networks: recurrent and linear maps of the data under a recurrent mixture density.

Oliva, Dubey, Zaheer, Poczos, Salakhutdinov, Xing, Schneider 2018, ICML, arXiv 1801.09819. The composition is the one
of the authors' own BSDS300 run (lupalab/tan, tan/demos/mafdata_demo.py; 159.80 +- 0.07 nats in the paper): a linear
map; four times leaky relu, scales, a recurrent shift, reversal, a linear map; leaky relu and scales; and under them the
recurrent autoregressive model ("RAM"), a GRU over the dimensions whose states give a mixture of K Gaussians each.

Every network is a GRU of one number at a time. Its backward pass is written by hand: autograd would keep ten small
tensors per time step, and the gradients of the weights are one matrix product over all time steps at once.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lde_bench.densities.base import Density
from lde_bench.densities.bijections import Bijection, LULinear, Rescale
from lde_bench.densities.flow import Flow
from lde_bench.densities.mixture import AutoregressiveMixture, Mixture
from lde_bench.densities.triangular import STANDARDISE_ROWS, cholesky, invert, moments
from lde_bench.training.batches import Batches
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan

#: What the networks see before the first dimension.
BEFORE_FIRST = -1.0
#: Start of the logit of a leaky relu's slope: sigmoid(5) = 0.993, close to the identity.
SLOPE_LOGIT = 5.0


class _Recurrence(torch.autograd.Function):
    """All states of a GRU without biases on its states: [T, B] -> [T, B, H]; see `ScalarGRU`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inputs: Tensor, bias: Tensor, gates: Tensor, candidate: Tensor) -> Tensor:
        """Numbers [T, B], weights of a number [3H] and biases [3H] (r, u, c), of the state [H, 2H] and [H, H]."""
        steps, rows = x.shape
        width = len(candidate)
        states = x.new_zeros(steps + 1, rows, width)  # the first is the state before the first number
        opened = x.new_empty(steps, rows, 2 * width)
        proposed = x.new_empty(steps, rows, width)
        for t in range(steps):
            h = states[t]
            seen = torch.addcmul(bias, x[t].unsqueeze(-1), inputs)  # [B, 3H]
            torch.addmm(seen[:, : 2 * width], h, gates, out=opened[t]).sigmoid_()
            reset, update = opened[t].chunk(2, -1)
            torch.addmm(seen[:, 2 * width :], reset * h, candidate, out=proposed[t]).tanh_()
            torch.lerp(proposed[t], h, update, out=states[t + 1])
        ctx.save_for_backward(x, inputs, gates, candidate, states, opened, proposed)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, inputs, gates, candidate, states, opened, proposed = ctx.saved_tensors
        steps, rows, width = proposed.shape
        before = states[:-1]
        reset, update = opened.chunk(2, -1)
        # Derivatives of what goes into the sigmoids and the tanh, filled from the last step to the first.
        inner = x.new_empty(steps, rows, 3 * width)
        slope = torch.cat([opened * (1 - opened), 1 - proposed.square()], -1)
        back = x.new_zeros(rows, width)
        for t in reversed(range(steps)):
            back = back + gradient[t]
            here = inner[t]
            torch.mul(back, 1 - update[t], out=here[:, 2 * width :])
            torch.mul(back, before[t] - proposed[t], out=here[:, width : 2 * width])
            here[:, 2 * width :] *= slope[t, :, 2 * width :]
            on_reset_state = here[:, 2 * width :] @ candidate.t()
            torch.mul(on_reset_state, before[t], out=here[:, :width])
            here[:, : 2 * width] *= slope[t, :, : 2 * width]
            back = torch.addcmul(on_reset_state * reset[t], back, update[t]).addmm_(here[:, : 2 * width], gates.t())
        flat = inner.flatten(0, 1)
        for_gates = before.flatten(0, 1).t() @ flat[:, : 2 * width]
        for_candidate = (reset * before).flatten(0, 1).t() @ flat[:, 2 * width :]
        return inner @ inputs, x.flatten() @ flat, flat.sum(0), for_gates, for_candidate


class ScalarGRU(nn.Module):
    """A gated recurrent unit that reads one number per time step (Cho et al. 2014, arXiv 1406.1078).

    r, u = sigmoid(W [x, h] + b), c = tanh(w x + V (r h) + d), h' = u h + (1 - u) c: the reset gate acts on the state,
    as in the paper and in TensorFlow's cell, not on the product as in torch's.

    Args:
        hidden: H, units.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.inputs = nn.Parameter(torch.zeros(3 * hidden))
        self.bias = nn.Parameter(torch.zeros(3 * hidden))
        self.gates = nn.Parameter(torch.zeros(hidden, 2 * hidden))
        self.candidate = nn.Parameter(torch.zeros(hidden, hidden))

    def reset_parameters(self) -> None:
        # Of TensorFlow's cell: Glorot's uniform weights, gates that start half-way open to remember.
        bounds = ((6 / (3 * self.hidden + 1)) ** 0.5, (6 / (2 * self.hidden + 1)) ** 0.5)
        with torch.no_grad():
            for weight, bound in ((self.gates, bounds[0]), (self.candidate, bounds[1])):
                weight.uniform_(-bound, bound)
            self.inputs[: 2 * self.hidden].uniform_(-bounds[0], bounds[0])
            self.inputs[2 * self.hidden :].uniform_(-bounds[1], bounds[1])
            self.bias[: 2 * self.hidden] = 1.0
            self.bias[2 * self.hidden :] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """The state before each number of x [B, D], which has seen those before it alone: [D, B, H]."""
        numbers = torch.cat([torch.full_like(x[:, :1], BEFORE_FIRST), x[:, :-1]], 1).t().contiguous()
        states: Tensor = _Recurrence.apply(numbers, self.inputs, self.bias, self.gates, self.candidate)
        return states

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """The state after one more number: [B], [B, H] -> [B, H]."""
        seen = torch.addcmul(self.bias, x.unsqueeze(-1), self.inputs)
        reset, update = torch.sigmoid(seen[:, : 2 * self.hidden] + state @ self.gates).chunk(2, -1)
        proposed = torch.tanh(seen[:, 2 * self.hidden :] + (reset * state) @ self.candidate)
        return torch.lerp(proposed, state, update)


class LeakyReLU(Bijection):
    """y = max(x, a x) with one learnt slope a in (0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(SLOPE_LOGIT))

    def reset_parameters(self) -> None:
        nn.init.constant_(self.logit, SLOPE_LOGIT)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        slope = torch.sigmoid(self.logit)
        return torch.maximum(x, slope * x), (x < 0).sum(-1) * F.logsigmoid(self.logit)

    def decode(self, y: Tensor) -> Tensor:
        return torch.minimum(y, y / torch.sigmoid(self.logit))


class RecurrentShift(Bijection):
    """y_i = x_i + m(x_<i), m a GRU over the dimensions before i ("RNN coupling"); the determinant is one.

    Encoding runs the recurrence over known numbers, decoding finds each number before the next step needs it.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.network = ScalarGRU(hidden)
        self.shift = nn.Linear(hidden, 1)

    def reset_parameters(self) -> None:
        self.network.reset_parameters()
        nn.init.xavier_uniform_(self.shift.weight, gain=0.1)  # starts close to the identity
        nn.init.zeros_(self.shift.bias)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + self.shift(self.network(x)).squeeze(-1).t(), x.new_zeros(len(x))

    def decode(self, y: Tensor) -> Tensor:
        state = y.new_zeros(len(y), self.network.hidden)
        columns = [torch.full_like(y[:, 0], BEFORE_FIRST)]
        for i in range(y.shape[1]):
            state = self.network.step(columns[-1], state)
            columns.append(y[:, i] - self.shift(state).squeeze(-1))
        return torch.stack(columns[1:], -1)


class Reverse(Bijection):
    """The features in reverse order."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flip(-1), x.new_zeros(len(x))

    def decode(self, y: Tensor) -> Tensor:
        return y.flip(-1)


class RecurrentMixture(nn.Module):
    """p(u_i | u_<i) as K Gaussians: a GRU over the dimensions, its state projected to 3K, relu, two tanh layers, 3K.

    Args:
        components: K.
        hidden: units of the GRU.
    """

    def __init__(self, components: int, hidden: int) -> None:
        super().__init__()
        self.components = components
        self.network = ScalarGRU(hidden)
        width = 3 * components
        self.head = nn.Sequential(
            nn.Linear(hidden, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, width),
        )

    def reset_parameters(self) -> None:
        self.network.reset_parameters()
        linear = [layer for layer in self.head if isinstance(layer, nn.Linear)]
        for layer in linear:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            # Distinct Gaussians around zero. Published: all the same but for 1e-6, which takes long to come apart.
            linear[-1].weight.mul_(0.1)
            spread = torch.linspace(-1, 1, self.components) if self.components > 1 else torch.zeros(1)
            linear[-1].bias.copy_(torch.cat([torch.zeros_like(spread), 0.5 * spread, 2.0 * spread - 0.5]))

    def forward(self, u: Tensor) -> Mixture:
        """The mixtures of all dimensions: [B, D] -> parameters [D, B, K]."""
        return Mixture.from_head(self.head(self.network(u)))

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Samples of the shape of `like` [B, D]."""
        state = like.new_zeros(len(like), self.network.hidden)
        columns = [torch.full_like(like[:, 0], BEFORE_FIRST)]
        for _ in range(like.shape[1]):
            state = self.network.step(columns[-1], state)
            columns.append(Mixture.from_head(self.head(state)).sample(generator))
        return torch.stack(columns[1:], -1)


class Tan(Flow):
    """Transformation autoregressive network.

    Args:
        features: D.
        components: K, Gaussians per dimension; 40 are published.
        hidden: units of every GRU; 256 are published.
        blocks: leaky relu, scales, recurrent shift, reversal, linear map; 4 are published.
    """

    name = "tan"
    place = 100
    replayable = True
    # The first linear map starts there.
    input = "Cholesky"
    card = Card(
        summary="transformation autoregressive network: linear maps, leaky relus and GRU shifts under a GRU mixture",
        source="Oliva et al. 2018, ICML, arXiv 1801.09819",
        sample_cost="one pass of every GRU, dimension by dimension",
        differences="hidden=64 (published: 256), one start (published: best of 10 by validation); the first linear map "
        "starts from the Cholesky factor of the training covariance (published: scaling), the mixture from distinct "
        "components; quick, standard, long: a cosine rate and averaged weights, not a halving one; "
        "gradients of nats are clipped at 63 in quick and at 6.3 in standard and long (published: 1)",
        bibtex=("oliva2018transformation",),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(
            steps=120,
            batch_size=128,
            rate=5e-3,
            warmup=20,
            clip=1.0,
            average=0.95,
            validate_every=60,
            reference_seconds=50,
        ),
        "standard": Plan(
            steps=900,
            batch_size=256,
            rate=5e-3,
            warmup=50,
            clip=0.1,
            average=0.99,
            validate_every=150,
            reference_seconds=220,
        ),
        # Adam 0.005, halved every 5000 of 60,000 steps, batch 1024, gradients clipped to norm 1.
        "paper": Plan(
            steps=60_000,
            batch_size=1024,
            rate=5e-3,
            schedule="halving",
            halve_every=5000,
            clip=1.0,
            of_nats=True,
            validate_every=2500,
            bf16=False,
            reference_seconds=1e5,
        ),
    }
    # A state that runs over 63 steps keeps what it adds up in the digits that bfloat16 has not.
    trains_in_bf16 = False

    def __init__(self, features: int, components: int = 40, hidden: int = 64, blocks: int = 4) -> None:
        features = positive_integer("features", features)
        hidden = positive_integer("hidden", hidden)
        stack: list[Bijection] = [LULinear(features)]
        for _ in range(positive_integer("blocks", blocks)):
            stack += [LeakyReLU(), Rescale(features), RecurrentShift(hidden), Reverse(), LULinear(features)]
        super().__init__(features, [*stack, LeakyReLU(), Rescale(features)])
        self.components = positive_integer("components", components)
        self.base = RecurrentMixture(self.components, hidden)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.base.reset_parameters()

    def prepare(self, batches: Batches) -> None:
        super().prepare(batches)
        rows = (batches.take(STANDARDISE_ROWS) - self.mean.cpu().numpy()) / self.scale.cpu().numpy()
        whitening = invert(cholesky(moments(rows)[1], self.name))
        first = self.layers[0]
        assert isinstance(first, LULinear)
        with torch.no_grad():
            # L U with L's unit diagonal and a diagonal U.
            unit = whitening / whitening.diagonal()
            first.factors.copy_(unit.tril(-1) + torch.diag(whitening.diagonal().log()))

    def base_log_prob(self, u: Tensor) -> Tensor:
        return self.base(u).log_prob(u.t()).sum(0)

    def base_density(self) -> Density | None:
        return _Base(self.features, self.base)

    def draw_base(self, n: int, generator: torch.Generator) -> Tensor:
        return self.base.draw(torch.empty(n, self.features, dtype=self.dtype, device=self.device), generator)


class _Base(AutoregressiveMixture):
    """The recurrent mixture of a `Tan` as a density of u."""

    def __init__(self, features: int, mixture: RecurrentMixture) -> None:
        super().__init__(features, mixture.components)
        self.mixture = mixture

    def conditionals(self, x: Tensor) -> Mixture:
        return Mixture(*(part.transpose(0, 1) for part in self.mixture(x)))
