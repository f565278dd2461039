"""One function per law: each holds one density, in evaluation mode, to one law on given rows [n, D].

Bounds are exact zeros where the law is exact, rounding where it is arithmetic, and the quantile of a correct density
(`quadrature.SIGNIFICANCE`) where it is statistical.
"""

from __future__ import annotations

import copy
import json
import math
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lde_bench.data.patches import FEATURES, NOISE_BITS, PIXELS, dequantise
from lde_bench.densities import load_density
from lde_bench.densities.base import LOG_2PI, Density
from lde_bench.errors import InputError
from lde_bench.evaluation.law import Law
from lde_bench.evaluation.laws.integral import LEAST_EFFECT, Integral, integrate
from lde_bench.evaluation.laws.quadrature import (
    GRIDS,
    SIGNIFICANCE,
    Grid,
    conditional_faults,
    ks_bound,
    ks_distance,
    log_prob_in_blocks,
    on_grid,
    slice_through,
)

#: How far an integral may be from 1.
MASS_BOUND = 1e-3
#: How far a conditional may be from the derivative of its own CDF, in mass: half of what a density 1.001 times too
#: large is off by.
CONDITIONAL_BOUND = 5e-4
#: Dimensions of a chain that are integrated, and rows on which sums are compared.
WITNESSES, WITNESS_ROWS = 8, 24
#: Largest standard error, in nats, of an integral by which a density is verified.
INTEGRAL_ERROR = 0.03
#: Constant patches whose mean log-density is bounded.
PATCHES = 256
#: Points of the slices along one dimension; as for the grids, more of them decide where fewer find a fault.
SLICE_POINTS = (193, 769, 3073)
#: Rounding that a regrouped matrix product may cause, relative to D + |log p|.
REGROUPING = {torch.float64: 1e-11, torch.float32: 1e-5}
#: float32 against float64, relative to D + |log p|.
PRECISION_BOUND = 1e-4
#: The log p of two trainings on the same rows in two units, relative to D + |log p|. Adam makes whole steps of a
#: gradient that is rounding noise, as behind BatchNorm: 3e-3 there, below 2e-5 elsewhere; a forgotten log a is above 1.
UNITS_BOUND = 1e-2
#: How far x -> u -> x and the log-determinant of a flow may be off in float64, relatively: what the errors of a few
#: dozen layers, each amplified by those after it, stay far below, and a wrong formula does not.
FLOW_BOUND = 1e-6
#: Standard errors between the mean log p of samples and minus the entropy: 1 in 10^5 on a normal mean.
ENTROPY_SIGMAS = 4.5


def _worst(difference: Tensor, reference: Tensor, features: int) -> float:
    """Largest |difference| relative to D + |log p|: log p is a sum of D terms, each rounded."""
    return (difference.abs() / (features + reference.abs())).max().item()


# -- a density integrates to one ---------------------------------------------------------------------------------------


def normalised(density: Density, rows: Tensor, seed: int = 0) -> Law:
    """p integrates to 1: on a grid in 1 or 2 dimensions, and in others as `normalisation` sees it.

    A grid ends somewhere, and steps over what is narrow: where it finds too little, importance sampling may find the
    rest, or say that it cannot tell.
    """
    if density.features not in GRIDS:
        return normalisation(density, rows, rows, seed)
    mass = 0.0
    for level in range(len(GRIDS[density.features])):
        grid = on_grid(density, rows, level)
        mass = grid.integral(torch.ones_like(grid.p))
        if abs(mass - 1) <= MASS_BOUND:
            break
    told = f"|integral of p - 1|, D = {density.features}"
    result = Law.of(abs(mass - 1), MASS_BOUND, told)
    if not result.passed and 0 < mass < 1:
        found = integrate(density, rows, seed)
        sampled = _judged(found, density.features)
        if sampled.passed and (sampled.verified or found.estimate.error > INTEGRAL_ERROR):
            return sampled
    return result


def conditionals(density: Density, rows: Tensor, dimensions: Sequence[int]) -> Law:
    """Each p(x_i | x_<i) is the derivative of its own CDF, which runs from 0 to 1; one row per dimension.

    In float64 where float32 is too coarse to tell, as far from zero.
    """
    scale = rows.std(0)
    scale = torch.where(scale > 0, scale, 1.0)
    which = torch.tensor(list(dimensions[: len(rows)]), device=rows.device)
    rows = rows[: len(which)]
    found = conditional_faults(density, rows, which, scale, CONDITIONAL_BOUND / 4)
    if not (found <= CONDITIONAL_BOUND).all() and "float64" not in density.lacks and rows.dtype != torch.float64:
        exact = copy.deepcopy(density).double().eval()
        found = conditional_faults(exact, rows.double(), which, scale.double(), CONDITIONAL_BOUND / 4)
    worst = int(np.argmax(found.cpu().numpy()))  # NaN is the worst of all to argmax, and lost to max
    detail = f"conditional mass or CDF off by this, worst at i = {dimensions[worst]} of {len(which)} dimensions"
    return Law.of(found[worst].item(), CONDITIONAL_BOUND, f"{detail}, D = {density.features}")


@torch.no_grad()
def mixed(density: Density, rows: Tensor) -> Law:
    """log p is that of the mixture of the density's parts, whose weights sum to 1, each of a view of x whose volume is
    counted.
    """
    parts = density.parts(rows)
    assert parts is not None
    terms = [part.density.log_prob(part.view) + part.log_abs_det + math.log(part.weight) for part in parts]
    expected = torch.stack(terms).logsumexp(0)
    value = _worst(density.log_prob(rows) - expected, expected, density.features)
    value = float(np.maximum(value, abs(sum(part.weight for part in parts) - 1)))
    row = rows[:1].double()
    exact = copy.deepcopy(density).double().eval()
    for index in range(len(parts)):
        with torch.enable_grad():
            jacobian = _jacobian(lambda x, index=index: exact.parts(x)[index].view, row[0])  # type: ignore[index, misc]
        found = torch.linalg.slogdet(jacobian)[1]
        told = exact.parts(row)[index].log_abs_det  # type: ignore[index]
        value = float(np.maximum(value, _worst(told - found, found, density.features)))
    return Law.of(value, REGROUPING[rows.dtype], "|log p - that of the mixture of its parts|, relative")


@torch.no_grad()
def base(density: Density, rows: Tensor) -> Law:
    """log p of a flow is log |det df/dx| and the log-density of u = f(x): its base's, or the standard normal's."""
    exact = copy.deepcopy(density).double().eval()
    rows = rows.double()
    u, log_abs_det = exact.encode(rows)
    inner = exact.base_density()
    log_base = -0.5 * (u.square() + LOG_2PI).sum(-1) if inner is None else inner.log_prob(u)
    expected = log_base + log_abs_det
    value = _worst(exact.log_prob(rows) - expected, expected, density.features)
    return Law.of(value, FLOW_BOUND, "|log p - log |det| - log p of the base|, relative")


def normalisation(density: Density, rows: Tensor, train: Tensor, seed: int) -> Law:
    """p integrates to 1 at the density's own D, on the trained model; called `normalised` in records.

    - By its conditionals, where there are any: each has mass 1 and looks at nothing after it, and they sum to log p.
    - A flow by its inverse, its log-determinant and its base density. (That u = f(x) reaches all of R^D is seen near
      the rows alone.)
    - A mixture by its parts, each held to this law.
    - Else, in 1 or 2 dimensions, on a grid, and in more by importance sampling around `train` [n, D] (`integral`). An
      integral off by more than its error allows breaks the law; where too few draws carry the weight to tell, or some
      of the integral was not found and no sampler says whether it is there, the result is not `verified`.
    """
    name, worst = max(_held(density, rows, train, seed, WITNESSES), key=lambda held: held[1].strain)
    return replace(worst, detail=f"{name}: {worst.detail}")


def _held(density: Density, rows: Tensor, train: Tensor, seed: int, witnesses: int) -> Iterator[tuple[str, Law]]:
    """What shows that a density integrates to 1; `witnesses` dimensions of each chain are integrated."""
    few = rows[:WITNESS_ROWS]
    with torch.no_grad():
        parts = None if density.autoregressive or density.invertible else density.parts(rows)
    if density.autoregressive:
        yield "conditionals", conditionals(density, rows, some_dimensions(density.features, witnesses))
        yield "chain_rule", chain_rule(density, few)
        yield "causal", causal(density, rows[:1], sighted=False)
    elif density.invertible:
        yield "inverse", inverse(density, rows[:4])
        yield "log_determinant", log_determinant(density, rows[:2])
        yield "base", base(density, few)
        if (inner := density.base_density()) is not None:
            with torch.no_grad():
                u = density.encode(rows)[0]
            yield from _held(inner, u, u, seed, witnesses)
    elif parts is not None:
        yield "mixed", mixed(density, few)
        share = max(2, witnesses // len(parts))
        held: list[Density] = []
        for part in parts:
            if not any(part.density is other for other in held):
                held.append(part.density)
                yield from _held(part.density, part.view, part.view, seed, share)
    elif density.features in GRIDS:
        yield "normalised", normalised(density, rows, seed)
    else:
        yield "integral", _judged(integrate(density, train, seed), density.features)


def some_dimensions(features: int, count: int) -> list[int]:
    """About `count` dimensions, spread evenly, the first two and the last among them."""
    spread = np.linspace(0, features - 1, max(2, count - 1)).round().astype(int).tolist()
    return sorted({*spread, min(1, features - 1)})


def _judged(found: Integral, features: int) -> Law:
    value, error = found.estimate
    told = f"log of the integral of p, importance-sampled: {value:.3g} +- {error:.2g} nats, D = {features}"
    if found.excess:
        return Law.of(value, LEAST_EFFECT, f"{told}; it is above 0 at odds of 1 in 100,000")
    if found.deficit:
        told += "; it is below 0 at odds of 1 in 100,000, or the model's samples are not those of p"
        return Law.of(-value, LEAST_EFFECT, told)
    bound = LEAST_EFFECT + ENTROPY_SIGMAS * error
    if error <= INTEGRAL_ERROR and abs(value) <= bound:
        return Law.of(abs(value), bound, told)
    return Law.unsure(abs(value), LEAST_EFFECT + ENTROPY_SIGMAS * INTEGRAL_ERROR, told)


def constant_patch(density: Density, seed: int) -> Law:
    """No density of 8x8 patches has a higher mean log-density on constant ones than their own has, 349.76 nats.

    On draws x of a known density q the mean of p / q is at most 1, so that the mean of log p - log q over n of them
    exceeds log(1 / a) / n with a probability of at most a. It is exact and cheap, and decisive only where a forgotten
    constant lifts log p above the bound: a model may be far below it and yet be no density.
    """
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 1 << NOISE_BITS, size=(PATCHES, PIXELS), dtype=np.uint32)
    rows = dequantise(np.full(noise.shape, 128, dtype=np.uint8), noise)
    # q of the 63 kept numbers is 64 * 256^63 times the room that the 64 noises leave in [0, 1].
    room = 1 - np.ptp(noise / 2.0**NOISE_BITS, axis=1)
    log_q = math.log(PIXELS) + FEATURES * math.log(256) + np.log(room)
    log_p = density.log_prob(rows).astype(np.float64)
    value = float(np.mean(log_p - log_q))
    told = f"mean log p of {PATCHES} constant patches, {log_p.mean():.2f} nats, above that of their own density"
    return Law.of(value, -math.log(SIGNIFICANCE) / PATCHES, told)


# -- the chain rule ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def chain_rule(density: Density, rows: Tensor) -> Law:
    """The conditionals sum to log p."""
    whole = density.log_prob(rows)
    value = _worst(density.conditional_log_prob(rows).sum(-1) - whole, whole, density.features)
    return Law.of(value, REGROUPING[rows.dtype], "|sum of conditionals - log p|, relative")


def _jacobian(function: Callable[[Tensor], Tensor], row: Tensor) -> Tensor:
    """d f_i / d x_j at `row` [D] for f: [B, D] -> [B, D] that keeps rows apart: [D, D] in one backward pass."""
    copies = row.repeat(len(row), 1).requires_grad_()
    (jacobian,) = torch.autograd.grad(function(copies).diagonal().sum(), copies)
    return jacobian


def causal(density: Density, rows: Tensor, *, sighted: bool = True) -> Law:
    """p(x_i | x_<i) and its CDF depend on nothing after i (exactly), and most look at the value just before it.

    A mask shifted backwards breaks no other law, it only wastes the past. Not all need look: in a narrow masked network
    the one path from x_(i-1) may be a dead unit. Where the network is a user's choice and may be as narrow as they
    like, `sighted=False` asks for no look at all: such a model is a poor density, but a density.
    """
    density.eval()
    ahead, seen = 0, torch.zeros(density.features, density.features, dtype=torch.bool, device=rows.device)
    for row in rows:
        log_p = _jacobian(density.conditional_log_prob, row)
        cdf = _jacobian(density.conditional_cdf, row)
        ahead += sum(int((jacobian.triu(1) != 0).sum()) for jacobian in (log_p, cdf))
        seen |= log_p != 0
    blind = int((~seen.diagonal(-1)).sum())
    detail = f"{ahead} derivatives by a later x_j are not 0, {blind} conditionals do not see x_(i-1)"
    value = ahead + (blind if sighted and 2 * blind > density.features - 1 else 0)
    return Law.of(value, 0.0, f"{detail}, D = {density.features}")


# -- flows -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def inverse(density: Density, rows: Tensor) -> Law:
    """A flow's `encode` and `decode` undo each other, in float64: x -> u -> x, and u -> x -> u at other u."""
    exact = copy.deepcopy(density).double().eval()
    rows = rows.double()
    u = exact.encode(rows)[0]
    other = torch.stack([u[:, i].roll(i + 1) for i in range(density.features)], 1)
    faults = [
        ((back - there).abs().max() / (1 + there.abs().max())).item()
        for there, back in ((rows, exact.decode(u)), (other, exact.encode(exact.decode(other))[0]))
    ]
    value = float(np.max(faults))  # NaN stays NaN
    detail = f"|x -> u -> x| or |u -> x -> u| off by this, relative, D = {density.features}"
    return Law.of(value, FLOW_BOUND, detail)


def log_determinant(density: Density, rows: Tensor) -> Law:
    """A flow's log |det df/dx| is that of the Jacobian which autograd finds, in float64, row by row."""
    exact = copy.deepcopy(density).double().eval()
    rows = rows.double()
    expected = torch.stack([torch.linalg.slogdet(_jacobian(lambda x: exact.encode(x)[0], row))[1] for row in rows])
    value = _worst(exact.encode(rows)[1].detach() - expected, expected, density.features)
    detail = f"|log det - that of autograd|, relative to D + |log det|, D = {density.features}"
    return Law.of(value, FLOW_BOUND, detail)


# -- one row's log p is its own business -------------------------------------------------------------------------------


@torch.no_grad()
def batch_split(density: Density, rows: Tensor) -> Law:
    """Batches of 1, 7 and N give the same log p."""
    whole = density.log_prob(rows)
    faults = [
        _worst(torch.cat([density.log_prob(part) for part in rows.split(size)]) - whole, whole, density.features)
        for size in (1, 7)
    ]
    value = float(np.max(faults))  # NaN stays NaN
    return Law.of(value, REGROUPING[rows.dtype], "|change of log p|, relative")


@torch.no_grad()
def permutation(density: Density, rows: Tensor) -> Law:
    """Permuting rows permutes log p."""
    order = torch.arange(len(rows), device=rows.device).roll(len(rows) // 3).flip(0)
    whole = density.log_prob(rows)
    value = _worst(density.log_prob(rows[order]) - whole[order], whole[order], density.features)
    return Law.of(value, REGROUPING[rows.dtype], "|change of log p|, relative")


# -- samples follow the density ----------------------------------------------------------------------------------------


@torch.no_grad()
def samples(density: Density, rows: Tensor, n: int, seed: int) -> Law:
    """Kolmogorov-Smirnov: the samples' own CDF values are uniform in every dimension.

    The CDF is that of the model's conditionals where it has them, and otherwise that of the density along one
    coordinate with the others fixed, integrated numerically; in 1 and 2 dimensions also that of every marginal. Finer
    integrals decide where coarse ones find a fault: barely trained splines are spiky.
    """
    drawn = torch.as_tensor(density.sample(n, seed)).to(rows)
    for level in range(2):
        result = _uniformity(density, rows, drawn, level)
        if result.passed:
            break
    return result


def _uniformity(density: Density, rows: Tensor, drawn: Tensor, level: int) -> Law:
    """The law `samples` at one fineness of its integrals."""
    own = density.conditional_cdf(drawn) if density.autoregressive else _slice_cdf(density, drawn, rows.std(0), level)
    columns, n = [own], len(drawn)
    if density.features in GRIDS:
        columns.append(_marginal_cdf(on_grid(density, rows, level), drawn))
    distances = [ks_distance(column) for column in columns]
    bounds = [ks_bound(len(column), sum(part.shape[1] for part in columns)) for column in columns]
    worst = int(np.argmax(np.divide(distances, bounds)))
    value, bound = distances[worst], bounds[worst]
    return Law.of(value, bound, f"Kolmogorov-Smirnov distance of {n} samples, D = {density.features}")


def _slice_cdf(density: Density, drawn: Tensor, scale: Tensor, level: int) -> Tensor:
    """P(X_i <= x_i | all the others) for one i per row, in turn: uniform on [0, 1] for samples of p: [n, 1]."""
    points = SLICE_POINTS[level]
    lines = [
        slice_through(row, r % density.features, scale[r % density.features], points) for r, row in enumerate(drawn)
    ]
    log_p = log_prob_in_blocks(density, torch.cat([line.rows for line in lines])).reshape(-1, points).double()
    p = (log_p - log_p.amax(1, keepdim=True)).exp() * torch.stack([line.slope for line in lines])
    cumulative = torch.cumulative_trapezoid(p, lines[0].u)
    return (cumulative[:, points // 2 - 1] / cumulative[:, -1]).unsqueeze(1)


def _marginal_cdf(grid: Grid, drawn: Tensor) -> Tensor:
    """P(X_i <= x_i) of every marginal: [n, D]."""
    values = [
        np.interp(drawn[:, i].double().cpu(), axis.cpu(), grid.marginal_cdf(i).cpu())
        for i, axis in enumerate(grid.axes)
    ]
    return torch.as_tensor(np.stack(values, 1))


@torch.no_grad()
def entropy(density: Density, rows: Tensor, n: int, seed: int) -> Law:
    """The mean log p of samples is minus the entropy, by quadrature in 1 or 2 dimensions."""
    log_p = log_prob_in_blocks(density, torch.as_tensor(density.sample(n, seed)).to(rows)).double()
    bound = ENTROPY_SIGMAS * log_p.std().item() / n**0.5 + MASS_BOUND
    value = math.inf
    for level in range(len(GRIDS[density.features])):
        grid = on_grid(density, rows, level)
        negative = grid.integral(grid.p.clamp_min(torch.finfo(grid.p.dtype).tiny).log())
        value = abs(log_p.mean().item() - negative)
        if value <= bound:
            break
    return Law.of(value, bound, f"|mean log p of {n} samples + entropy| in nats")


def seeds(density: Density, rows: Tensor) -> Law:
    """The seed, and nothing else, decides the samples; torch's global generator is neither used nor moved."""
    first = density.sample(5, seed=1)
    torch.rand(1)
    before = torch.random.get_rng_state()
    again = density.sample(5, seed=1)
    moved = not torch.equal(before, torch.random.get_rng_state())
    faults = {
        "the same seed gives other samples": not np.array_equal(first, again),
        "another seed gives the same samples": np.array_equal(first, density.sample(5, seed=2)),
        "sampling moves the global generator": moved,
    }
    return _faults(faults)


@torch.no_grad()
def units(density: Density, twin: Density, rows: Tensor, scale: Tensor, shift: Tensor) -> Law:
    """The same training on a x + b gives log p(x) - sum log a: `twin` was trained on a x + b, a and b [D]."""
    expected = density.log_prob(rows) - scale.log().sum()
    value = _worst(twin.log_prob(rows * scale + shift) - expected, expected, density.features)
    told = "|log p of x - log p of a x + b - sum log a|, relative to D + |log p|"
    return Law.of(value, UNITS_BOUND, f"{told}, D = {density.features}")


# -- numbers -----------------------------------------------------------------------------------------------------------


def gradients(density: Density, rows: Tensor) -> Law:
    """Every parameter gets a gradient from log p, in evaluation mode (a bias before BatchNorm has none in training),
    and those gradients and that of the rows are finite.
    """
    density.eval()
    density.zero_grad(set_to_none=True)
    rows = rows.detach().clone().requires_grad_()
    density.log_prob(rows).sum().backward()
    learnt = {name: each.grad for name, each in density.named_parameters() if each.requires_grad}
    idle = [name for name, gradient in learnt.items() if gradient is None or not gradient.any()]
    found = {**learnt, "the rows": rows.grad}
    broken = [name for name, each in found.items() if each is not None and not torch.isfinite(each).all()]
    density.zero_grad(set_to_none=True)
    told = f"parameters without gradient: {', '.join(idle) or 'none'}"
    return Law.of(len(idle) + len(broken), 0.0, told + (f"; not finite: {', '.join(broken)}" if broken else ""))


@torch.no_grad()
def modes(density: Density, rows: Tensor) -> Law:
    """`log_prob` is the same in training and in evaluation mode, and leaves the mode as it was."""
    evaluated = density.eval().log_prob(rows)
    trained = density.train().log_prob(rows)
    faults = {
        "log_prob differs in training mode": not torch.equal(evaluated, trained),
        "log_prob changes the mode": not density.training,
    }
    density.eval()
    return _faults(faults)


def float64(density: Density, rows: Tensor) -> Law:
    """float32 agrees with float64."""
    with torch.no_grad():
        exact = copy.deepcopy(density).double().log_prob(rows.double())
        single = copy.deepcopy(density).float().log_prob(rows.float())
    value = _worst(single.double() - exact, exact, density.features)
    return Law.of(value, PRECISION_BOUND, "|float32 - float64|, relative to D + |log p|")


@torch.no_grad()
def finite(density: Density, rows: Tensor) -> Law:
    """log p is finite on the rows, and a thousand standard deviations out along every axis and the diagonals."""
    centre, scale = rows.mean(0), rows.std(0)
    out = torch.cat([torch.diag(scale), scale.unsqueeze(0)]) * 1e3
    far = torch.cat([rows, centre + out, centre - out])
    bad = int((~torch.isfinite(density.log_prob(far))).sum())
    return Law.of(bad, 0.0, f"log p not finite on this many of {len(far)} rows, in {rows.dtype}")


# -- the contract ------------------------------------------------------------------------------------------------------


def round_trip(density: Density, rows: Tensor) -> Law:
    """Saved and loaded, log p is the same to the bit, and the file is safetensors with a JSON header."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "density.safetensors"
        density.save(path)
        content = path.read_bytes()
        loaded = load_density(path)
    (length,) = struct.unpack("<Q", content[:8])
    config = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["lde_bench"])
    with torch.no_grad():
        same = torch.equal(loaded.log_prob(rows), density.log_prob(rows))
    faults = {
        "log p differs after loading": not same,
        "the header does not name the features": config["features"] != density.features,
        "samples differ after loading": "samples" not in density.lacks
        and not np.array_equal(loaded.sample(3), density.sample(3)),
    }
    return _faults(faults)


def contract(density: Density, rows: Tensor) -> Law:
    """NumPy in, NumPy out; a tensor in, a tensor with its gradient out; wrong shapes are an `InputError`."""
    array = rows.cpu().numpy()
    from_array, from_tensor = density.log_prob(array), density.log_prob(rows)
    with_gradient, samples = "gradients" not in density.lacks, "samples" not in density.lacks
    faults = {
        "NumPy in is not NumPy [n] out": not _is_array(from_array, (len(rows),)),
        "no rows in is not no rows out": not _is_array(density.log_prob(array[:0]), (0,)),
        "a tensor in is not a tensor [n] with its gradient out": not isinstance(from_tensor, Tensor)
        or from_tensor.shape != (len(rows),)
        or (with_gradient and not from_tensor.requires_grad),
        "NumPy and tensor disagree": not np.allclose(from_array, from_tensor.detach().cpu(), rtol=1e-5, atol=1e-5),
        "samples are not NumPy [n, D]": samples and not _is_array(density.sample(3), (3, density.features)),
        "sample(0) is not [0, D]": samples and not _is_array(density.sample(0), (0, density.features)),
        "a wrong width is no InputError": not _refuses(density, np.zeros((2, density.features + 1))),
        "a single vector is no InputError": not _refuses(density, np.zeros(density.features)),
    }
    return _faults(faults)


def _is_array(value: object, shape: tuple[int, ...]) -> bool:
    return isinstance(value, np.ndarray) and value.shape == shape


def _refuses(density: Density, x: np.ndarray) -> bool:
    try:
        density.log_prob(x)
    except InputError:
        return True
    return False


def _faults(faults: dict[str, bool]) -> Law:
    found = [fault for fault, present in faults.items() if present]
    return Law.of(len(found), 0.0, "; ".join(found) or "no fault")
