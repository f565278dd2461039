"""Deep RNADE: one network for every ordering of the chain rule, K Gaussians per dimension.

Uria, Murray, Larochelle 2013, arXiv 1306.0186 (RNADE); Uria, Murray, Larochelle 2014, arXiv 1310.1757 (orderless
training, deep networks, ensembles over orderings); Uria et al. 2016, JMLR 17(205).

The network sees (x * seen, seen) and gives a mixture for every dimension. It is trained on random sets of seen
dimensions; log p(x) then takes the D growing sets of one ordering, so each term is p(x_i | the dimensions before i).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lde_bench.densities.base import Part, equal_parts
from lde_bench.densities.mixture import AutoregressiveMixture, Mixture, initial_outputs
from lde_bench.densities.triangular import standardisation
from lde_bench.seeds import derive_generator
from lde_bench.training.batches import Batches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import GradientLearner, Learner
from lde_bench.training.model import Card, positive_integer
from lde_bench.training.plan import Plan

#: Rows whose D passes run as one batch: D x PASS_ROWS x hidden numbers a layer, small enough for a processor's cache.
PASS_ROWS = 64
#: Validation rows whose exact log-likelihood chooses the weights: all of them would cost as much as the training.
SCORE_ROWS = 1024


class DeepRnade(AutoregressiveMixture):
    """Deep RNADE.

    With one ordering, the sequential one, the density is autoregressive. With N it is the mixture of the N densities
    that the network defines under N fixed orderings, p(x) = 1/N sum_o p(x | o): the published ensemble, a density, but
    one without conditionals. Orderings cost evaluation alone; the trained weights are the same.

    Args:
        features: D.
        components: K, Gaussians per dimension.
        hidden: units of a hidden layer.
        layers: hidden layers.
        orderings: N, fixed orderings under which log p is evaluated; the first is the sequential one.
    """

    location: Tensor
    log_scale: Tensor

    name = "deep-rnade"
    place = 50
    replayable = True
    rows = ("deep-rnade:components=10", "deep-rnade+w:components=10")
    input = "standardised"
    card = Card(
        summary="one relu network for all orderings, K Gaussians per dimension; one ordering or a mixture of several",
        source="Uria et al. 2013, arXiv 1306.0186; 2014, arXiv 1310.1757; 2016, JMLR 17(205)",
        sample_cost="one pass of the network per dimension (D passes)",
        differences="384 units a layer, so that 110,000 exact likelihoods (D passes each) take minutes (we could not "
        "verify the published width); Adam in place of momentum SGD; seen counts dealt out evenly over a batch; "
        "quick, standard, long: clipping and averaged weights; weights chosen on the exact likelihood of 1,024 "
        "validation rows under the sequential order",
        bibtex=("uria2013rnade", "uria2014deep", "uria2016nade"),
    )
    plans: ClassVar[dict[str, Plan]] = {
        "quick": Plan(
            steps=400,
            batch_size=512,
            rate=2e-3,
            clip=1.0,
            average=0.98,
            validate_every=200,
            reference_seconds=60,
        ),
        "standard": Plan(
            steps=4_500,
            batch_size=512,
            rate=3e-3,
            clip=0.1,
            average=0.999,
            validate_every=500,
            reference_seconds=230,
        ),
        "paper": Plan(
            steps=1_000_000,
            batch_size=100,
            rate=1e-3,
            validate_every=10_000,
            bf16=False,
            reference_seconds=3e4,
        ),
    }
    evaluation_only: ClassVar[frozenset[str]] = frozenset({"orderings"})
    equivariant = True

    def __init__(
        self, features: int, components: int = 10, hidden: int = 384, layers: int = 6, orderings: int = 1
    ) -> None:
        super().__init__(features, components)
        width = positive_integer("hidden", hidden)
        self.orderings = fixed_orderings(self.features, positive_integer("orderings", orderings))
        self.autoregressive = len(self.orderings) == 1
        self.inputs = nn.Linear(2 * self.features, width)  # first the seen values, then the mask
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(positive_integer("layers", layers) - 1))
        self.outputs = nn.Linear(width, self.features * 3 * self.components)
        self.register_buffer("location", torch.zeros(self.features))
        self.register_buffer("log_scale", torch.zeros(self.features))
        self.reset_parameters()

    @property
    def passes(self) -> int:
        return len(self.orderings) * self.features

    def reset_parameters(self) -> None:
        with torch.no_grad():
            for layer in (self.inputs, *self.hidden):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
            nn.init.kaiming_normal_(self.outputs.weight, nonlinearity="linear")
            self.outputs.weight.mul_(0.1)
            self.outputs.bias.copy_(initial_outputs(self.components).repeat(self.features))

    def prepare(self, batches: Batches) -> None:
        location, scale = standardisation(batches)
        self.location.copy_(location)
        self.log_scale.copy_(scale.log())

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        return _OrderlessLearner(self, plan, device, precision, compiler)

    # -- training: any set of seen dimensions ----------------------------------------------------------------------

    def unseen_log_prob(self, x: Tensor, seen: Tensor) -> Tensor:
        """D / (D - d) * sum over unseen i of log p(x_i | x_seen), where d dimensions are seen: x, seen [B, D] -> [B].

        Over random sets of a random size d it is an unbiased estimate of the mean of log p(x | o) over all orderings o
        (arXiv 1310.1757).
        """
        z = (x - self.location) * torch.exp(-self.log_scale)
        h = self._deep(self.inputs(torch.cat([z * seen, seen.to(z.dtype)], -1)))
        mixture = Mixture.from_head(self.outputs(h).unflatten(-1, (self.features, -1)))  # [B, D, K]
        log_p = (mixture.log_prob(z) - self.log_scale) * ~seen
        return log_p.sum(-1) * (self.features / (~seen).sum(-1))

    def _deep(self, pre: Tensor) -> Tensor:
        """Pre-activation of the first hidden layer -> activation of the last: [..., width] -> [..., width]."""
        h = F.relu(pre)
        for layer in self.hidden:
            h = F.relu(layer(h))
        return h

    # -- evaluation: the growing sets of an ordering ---------------------------------------------------------------

    def _columns(self) -> tuple[Tensor, Tensor]:
        """What a seen dimension adds to the first pre-activation, per unit of its value and by its mask: [D, width]."""
        by_value, by_mask = self.inputs.weight.t().chunk(2)
        return by_value, by_mask

    def growing_pre_activations(self, z: Tensor, ordering: Tensor) -> Tensor:
        """First pre-activations with the dimensions ordering[:t] seen, for t = 0 ... D-1: [B, D] -> [D, B, width].

        The first layer is a sum over what is seen, so the D of them are one running sum, as in NADE.
        """
        by_value, by_mask = (part[ordering[:-1]].unsqueeze(1) for part in self._columns())  # [D-1, 1, width]
        added = z.t()[ordering[:-1]].unsqueeze(-1) * by_value + by_mask  # [D-1, B, width]
        return torch.cat([added.new_zeros(1, *added.shape[1:]), added.cumsum(0)]) + self.inputs.bias

    def _head(self, dimensions: Tensor) -> tuple[Tensor, Tensor]:
        """The output rows of some dimensions: weights [T, width, 3K] and biases [T, 1, 3K]."""
        weight = self.outputs.weight.unflatten(0, (self.features, -1))[dimensions]
        return weight.transpose(1, 2), self.outputs.bias.unflatten(0, (self.features, -1))[dimensions].unsqueeze(1)

    def conditionals_in(self, x: Tensor, ordering: Tensor) -> Mixture:
        """The mixtures p(. | the dimensions before i in `ordering`) for all i: [B, D] -> parameters [B, D, K]."""
        weight, bias = self._head(ordering)
        back = ordering.argsort()
        z = (x - self.location) * torch.exp(-self.log_scale)
        blocks = []
        for rows in z.split(PASS_ROWS):
            h = self._deep(self.growing_pre_activations(rows, ordering))  # [D, b, width]
            blocks.append(torch.baddbmm(bias, h, weight)[back].transpose(0, 1))  # [b, D, 3K]
        outputs = torch.cat(blocks) if blocks else x.new_zeros(0, self.features, 3 * self.components)
        return self._in_units_of_x(Mixture.from_head(outputs), self.location, self.log_scale)

    @staticmethod
    def _in_units_of_x(mixture: Mixture, location: Tensor, log_scale: Tensor) -> Mixture:
        scaled = mixture.rescaled(log_scale)
        return scaled._replace(means=scaled.means + location.unsqueeze(-1))

    def log_prob_in(self, x: Tensor, ordering: Tensor) -> Tensor:
        """log p(x | ordering) in nats: [B, D] -> [B]."""
        return self.conditionals_in(x, ordering).log_prob(x).sum(-1)

    def conditionals(self, x: Tensor) -> Mixture:
        if not self.autoregressive:
            raise TypeError(f"{type(self).__name__} under several orderings has no conditionals")
        return self.conditionals_in(x, self.orderings[0].to(x.device))

    def forward(self, x: Tensor) -> Tensor:
        each = torch.stack([self.log_prob_in(x, ordering.to(x.device)) for ordering in self.orderings])  # [N, B]
        return torch.logsumexp(each, 0) - math.log(len(each))

    def parts(self, x: Tensor) -> list[Part]:
        orderings = [ordering.to(x.device) for ordering in self.orderings]
        return equal_parts([(_InOrder(self, ordering), x[:, ordering]) for ordering in orderings])

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """An ordering for every sample, then one pass per dimension."""
        x = torch.empty(n, self.features, dtype=self.dtype, device=self.device)
        if self.autoregressive:
            return self._draw_in(x, self.orderings[0].to(x.device), generator)
        choice = torch.randint(len(self.orderings), (n,), generator=generator, device=x.device)
        for index, ordering in enumerate(self.orderings):
            x[choice == index] = self._draw_in(x[choice == index], ordering.to(x.device), generator)
        return x

    def _draw_in(self, x: Tensor, ordering: Tensor, generator: torch.Generator) -> Tensor:
        """Fill `x` [n, D] with samples, dimension after dimension, adding each to the first pre-activation."""
        by_value, by_mask = self._columns()
        weights, biases = self._head(ordering)
        pre = self.inputs.bias.expand(len(x), -1)
        for t, i in enumerate(ordering.tolist()):
            mixture = Mixture.from_head(self._deep(pre) @ weights[t] + biases[t])
            z = mixture.sample(generator)  # [n]
            x[:, i] = self.location[i] + z * self.log_scale[i].exp()
            pre = pre + z.unsqueeze(-1) * by_value[i] + by_mask[i]
        return x


class _InOrder(AutoregressiveMixture):
    """p(x | ordering) of a network, as a density of x in that order."""

    def __init__(self, network: DeepRnade, ordering: Tensor) -> None:
        super().__init__(network.features, network.components)
        self.network, self.ordering = network, ordering

    @property
    def passes(self) -> int:
        return self.features

    def conditionals(self, x: Tensor) -> Mixture:
        found = self.network.conditionals_in(x[:, self.ordering.argsort()], self.ordering)
        return Mixture(*(part[:, self.ordering] for part in found))


def fixed_orderings(features: int, n: int) -> list[Tensor]:
    """The sequential ordering and n - 1 fixed random ones, the same on every machine; each is int64 [D]."""
    generators = (derive_generator(0, "ordering", i) for i in range(1, n))
    return [torch.arange(features), *(torch.as_tensor(generator.permutation(features)) for generator in generators)]


def random_seen(rows: int, features: int, device: torch.device) -> Tensor:
    """For every row a set of seen dimensions, uniform in size (0 ... D-1) and among those of a size: bool [B, D].

    The sizes of a batch are dealt out evenly from a random start: each is uniform, their spread costs no noise. Drawn
    from torch's global generator, which `fit` seeds and a checkpoint keeps.
    """
    size = (torch.randint(features, (1,), device=device) + torch.arange(rows, device=device)) % features
    rank = torch.rand(rows, features, device=device).argsort(-1)  # a random permutation
    return rank < size.unsqueeze(-1)


class _OrderlessLearner(GradientLearner):
    """Maximises the orderless estimate; scores the exact likelihood of few rows under the sequential ordering.

    The score knows nothing of `orderings`, so that ensembles of any size share their weights.
    """

    score_rows = SCORE_ROWS

    def __init__(
        self,
        density: DeepRnade,
        plan: Plan,
        device: torch.device,
        precision: str,
        compiler: Compiler,
    ) -> None:
        unseen_log_prob = compiler(density.unseen_log_prob)

        def log_density(x: Tensor) -> Tensor:
            return unseen_log_prob(x, random_seen(len(x), density.features, x.device))

        super().__init__(density, plan, device, precision, log_density, compiler)
        self.scored = lambda x: density.log_prob_in(x, density.orderings[0].to(x.device))
