"""Which laws a model is held to: all of them on tiny networks (`check`), or on a trained model (`trial_laws`)."""

from __future__ import annotations

import copy
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lde_bench.densities import create, density_class, only_features
from lde_bench.densities.base import Density
from lde_bench.densities.external import probe
from lde_bench.densities.spec import parse_method
from lde_bench.errors import InputError
from lde_bench.evaluation.law import Law, judge
from lde_bench.evaluation.laws import measures
from lde_bench.evaluation.laws.integral import ROWS
from lde_bench.evaluation.laws.quadrature import GRIDS

#: Constructor arguments that make a network tiny, given where the class has them and the method does not spell them.
#: With three sigmoidal transforms at random weights a thousandth of the mass would lie beyond any grid.
TINY = {"components": 3, "hidden": 64, "blocks": 1, "layers": 1, "transforms": 2, "bins": 3, "sigmoids": 4}
#: Features, training rows and steps of the short fits: 63 is the width of the real patches.
FITS = {1: (512, 30), 2: (512, 30), 5: (512, 30), 63: (192, 4)}
#: Dimensions whose conditional is integrated at D = 63: both ends, and around the powers of two of dilated networks.
WIDE_DIMENSIONS = (0, 1, 2, 31, 32, 33, 61, 62)
SAMPLES = 2000
#: From D = 63 on, where without conditionals each sample costs an integral.
WIDE, WIDE_SAMPLES = 63, 250


@dataclass(frozen=True)
class Case:
    """A density in a state that hides nothing, and rows it can be measured on."""

    density: Density
    rows: Tensor
    #: Trained as `density`, on the rows times `scale` plus `shift`, each [D].
    twin: Density | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None


class _Subject:
    """Builds the model at several widths, brings it into non-trivial states, and keeps them for every law."""

    def __init__(self, make: Callable[..., Density], seed: int) -> None:
        self.make = make
        self.seed = seed
        self._fitted = functools.cache(self._fit)

    def _fit(self, features: int) -> Case:
        rows = skewed_rows(FITS.get(features, FITS[63])[0], features, self.seed)
        return Case(self._trained(rows), torch.as_tensor(rows))

    def _trained(self, rows: np.ndarray) -> Density:
        features = rows.shape[1]
        steps = FITS.get(features, FITS[63])[1]
        density = self.make(features=features)
        return density.fit(rows, seed=self.seed, steps=steps, device="cpu", precision="fp32", compile=False)

    def in_other_units(self, features: int) -> Case:
        """As `single`, and the same training on the rows in other units, powers of two: their product is exact."""
        case = self.single(features)
        scale = 2.0 ** torch.tensor([(-10, 7, 13, -3, 0)[i % 5] for i in range(features)])
        shift = 8 * scale
        return replace(case, twin=self._trained((case.rows * scale + shift).numpy()), scale=scale, shift=shift)

    def fitted(self, features: int) -> Case:
        """After a few training steps, in float64 where the density has it."""
        case = self._fitted(features)
        if "float64" in case.density.lacks:
            return self.single(features)
        return Case(copy.deepcopy(case.density).double(), case.rows.double())

    def single(self, features: int) -> Case:
        """After a few training steps, in float32."""
        case = self._fitted(features)
        return Case(copy.deepcopy(case.density), case.rows)

    def perturbed(self, features: int) -> Case:
        """With every weight changed at random: a law holds at any weights, not only where training leads.

        (For a class from outside this package, which may be a density at the weights of its training only, as fitted.)
        By 20 %, and biases and the like, which start at zero, by 0.5 as well: that tells a mixture's components apart.
        """
        case = self.fitted(features)
        if "perturbation" in case.density.lacks:
            return case
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for parameter in case.density.parameters():
                if parameter.requires_grad:
                    noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                    parameter.mul_(1 + 0.2 * noise)
                    if parameter.ndim == 1:
                        parameter.add_(noise, alpha=0.5)
        return case


def skewed_rows(n: int, features: int, seed: int) -> np.ndarray:
    """Correlated and skewed synthetic rows, off centre and off unit scale: float32 [n, features]."""
    generator = np.random.default_rng(seed)
    normal = generator.normal(size=(n, features))
    rows = normal + 0.3 * (normal**2 - 1)
    for i in range(1, features):
        rows[:, i] = 0.8 * rows[:, i] + 0.6 * rows[:, i - 1]
    return (rows * generator.uniform(1.5, 3.0, features) + generator.normal(size=features)).astype(np.float32)


def _widely(case: Case) -> Law:
    return measures.conditionals(case.density, case.rows, WIDE_DIMENSIONS)


def _on(law: Callable[[Density, Tensor], Law], rows: int | None = None) -> Callable[[Case], Law]:
    return lambda case: law(case.density, case.rows[:rows])


def _drawn(law: Callable[..., Law]) -> Callable[[Case], Law]:
    return lambda case: law(case.density, case.rows, _samples(case), 1)


def _units(case: Case) -> Law:
    assert case.twin is not None
    assert case.scale is not None
    assert case.shift is not None
    return measures.units(case.density, case.twin, case.rows[:64], case.scale, case.shift)


def _samples(case: Case) -> int:
    return SAMPLES if case.density.features < WIDE else WIDE_SAMPLES


#: Each law and the states (state, features) it is measured in.
_SUITE: dict[str, tuple[Callable[[Case], Law], tuple[tuple[str, int], ...]]] = {
    "normalised": (_on(measures.normalised), (("fitted", 1), ("perturbed", 1), ("fitted", 2), ("perturbed", 2))),
    "conditionals": (_widely, (("fitted", 63),)),
    "chain_rule": (_on(measures.chain_rule, 32), (("fitted", 1), ("perturbed", 5))),
    "causal": (_on(measures.causal, 4), (("perturbed", 2), ("perturbed", 5), ("fitted", 63))),
    "inverse": (_on(measures.inverse, 4), (("perturbed", 1), ("perturbed", 5), ("perturbed", 63))),
    "log_determinant": (_on(measures.log_determinant, 4), (("perturbed", 1), ("perturbed", 5), ("perturbed", 63))),
    "batch_split": (_on(measures.batch_split, 24), (("fitted", 1), ("perturbed", 5), ("single", 5))),
    "permutation": (_on(measures.permutation, 24), (("fitted", 1), ("perturbed", 5), ("single", 5))),
    "samples": (_drawn(measures.samples), (("fitted", 1), ("perturbed", 2), ("perturbed", 5))),
    "entropy": (_drawn(measures.entropy), (("fitted", 1), ("perturbed", 2))),
    "gradients": (_on(measures.gradients, 64), (("perturbed", 5),)),
    "modes": (_on(measures.modes, 24), (("single", 1), ("single", 5))),
    "round_trip": (_on(measures.round_trip, 24), (("single", 1), ("single", 5), ("perturbed", 5))),
    "float64": (_on(measures.float64, 64), (("single", 1), ("single", 5))),
    "finite": (_on(measures.finite), (("single", 1), ("single", 5), ("perturbed", 5))),
    "units": (_units, (("in_other_units", 1), ("in_other_units", 5))),
    "seeds": (_on(measures.seeds), (("single", 1), ("single", 5))),
    "contract": (_on(measures.contract, 24), (("single", 1), ("single", 5))),
}

#: The names of the laws, in the order in which `check` reports them.
LAWS = tuple(_SUITE)
#: Laws of the chain rule, for autoregressive densities.
AUTOREGRESSIVE = ("conditionals", "chain_rule", "causal")
#: Laws of flows, which have `encode` and `decode`.
INVERTIBLE = ("inverse", "log_determinant")
#: What a law needs that a density of a user's own may lack; see `Density.lacks`.
NEEDS = {
    "samples": "samples",
    "entropy": "samples",
    "seeds": "samples",
    "gradients": "gradients",
    "modes": "float64",  # both are of torch modules
    "float64": "float64",
    "round_trip": "weights",
    "units": "perturbation",  # a class of a user's own is given rows of unit scale, and may be as coarse as it likes
}


def check(make: str | Callable[..., Density], *, laws: Iterable[str] | None = None, seed: int = 0) -> dict[str, Law]:
    """Hold a model to the laws, on tiny networks; one verdict per law, the worst of its cases.

    Args:
        make: a method (`"lde+w"`), or a callable that takes `features` and gives a density. Arguments of `TINY` are
            given where the class or callable has them.
        laws: some of `LAWS`; all by default. Those that do not apply are left out: the chain rule for a density that
            is not autoregressive, those of flows for another, the round trip for one that `create` did not make, units
            for one that assumes rows of unit scale.
        seed: of the synthetic rows, the short fits and the samples.

    Raises:
        InputError: an unknown method or law.
    """
    chosen = LAWS if laws is None else tuple(laws)
    for law in chosen:
        if law not in _SUITE:
            raise InputError(f"law '{law}' is unknown; choose one of {', '.join(LAWS)}.")
    subject = _Subject(_tiny(make), seed)
    only = only_features(parse_method(make)) if isinstance(make, str) else getattr(make, "only_features", None)
    example = subject.make(features=only or 2)
    applicable = [
        law
        for law in chosen
        if (example.autoregressive or law not in AUTOREGRESSIVE)
        and (example.invertible or law not in INVERTIBLE)
        and (example.config or law != "round_trip")
        and (only is None or only in GRIDS or law != "entropy")
        and (example.equivariant or law != "units")
        and NEEDS.get(law) not in example.lacks
    ]
    widths = (only,) if only else tuple(width for width in FITS if width > 1 or _takes_one_feature(subject, example))
    return {law: _check_law(law, subject, widths) for law in applicable}


def _takes_one_feature(subject: _Subject, example: Density) -> bool:
    """Whether the density is one of a single number too; one of a user's own, as a coupling flow, need not be."""
    if "perturbation" not in example.lacks:
        return True
    try:
        probe(subject.make(features=1))
    except InputError:
        return False
    return True


def _check_law(law: str, subject: _Subject, widths: tuple[int, ...]) -> Law:
    measure, states = _SUITE[law]
    if len(widths) == 1:  # a density of one width is held there to what others are held to at several
        states = tuple(dict.fromkeys((state, widths[0]) for state, _ in states))
    states = tuple((state, features) for state, features in states if features in widths)
    results = [
        judge(lambda state=state, features=features: measure(getattr(subject, state)(features)))  # type: ignore[misc]
        for state, features in states
    ]
    return max(results, key=lambda result: result.strain)


def _tiny(make: str | Callable[..., Density]) -> Callable[..., Density]:
    if isinstance(make, str):
        spec = parse_method(make)
        known = inspect.signature(density_class(spec.name)).parameters
        # What else a class of a user's own calls `hidden` or `layers` need not be a number.
        tiny = {"components": TINY["components"]} if density_class(spec.name).origin else TINY
        arguments = {key: value for key, value in tiny.items() if key in known}
        return functools.partial(create, spec.with_arguments(**arguments))
    known = inspect.signature(make).parameters
    return functools.partial(make, **{key: value for key, value in TINY.items() if key in known})


def _samples_of_trained(density: Density) -> int:
    """Samples for the law `samples`; without conditionals each costs a line of evaluations, so fewer of dear models."""
    return 500 if density.autoregressive else max(24, 250 // density.passes)


def trial_laws(
    density: Density, held_out: np.ndarray, *, train: np.ndarray | None = None, patches: bool = False, seed: int = 0
) -> dict[str, Law]:
    """Hold a trained model to the laws that take seconds; the verdicts by the name of the law.

    A correct model fails with a probability below 1 in 10,000: only `samples` and the integral of `normalised` are
    statistical. A law whose measurement could not tell is not `verified`.

    Args:
        density: on whatever device and in whatever dtype it is evaluated.
        held_out: rows [n, D] that chose nothing but the weights, at least 24; the first 256 are used.
        train: rows [m, D] around which the density is integrated where nothing else shows that it is one; those held
            out by default.
        patches: whether the rows are 8x8 patches, prepared as those of BSDS300.
    """
    rows = torch.as_tensor(np.asarray(held_out[:256]), dtype=density.dtype, device=density.device)
    few = rows[:24]
    laws: dict[str, Callable[[], Law]] = {
        "batch_split": lambda: measures.batch_split(density, few),
        "permutation": lambda: measures.permutation(density, few),
        "samples": lambda: measures.samples(density, rows, _samples_of_trained(density), seed),
        "float64": lambda: measures.float64(density, few),
        "finite": lambda: measures.finite(density, rows),
    }
    if density.autoregressive:
        dimensions = measures.some_dimensions(density.features, measures.WITNESSES)
        laws["conditionals"] = lambda: measures.conditionals(density, rows, dimensions)
        laws["chain_rule"] = lambda: measures.chain_rule(density, few)
        laws["causal"] = lambda: measures.causal(density, rows[:1], sighted=False)
    else:
        laws["normalised"] = lambda: measures.normalisation(density, rows, _some_of(train, rows, seed), seed)
    if density.invertible:
        laws["inverse"] = lambda: measures.inverse(density, rows[:4])
        laws["log_determinant"] = lambda: measures.log_determinant(density, rows[:2])
    if patches:
        laws["constant_patch"] = lambda: measures.constant_patch(density, seed)
    was_training = density.training
    density.eval()
    applicable = {law: measure for law, measure in laws.items() if NEEDS.get(law) not in density.lacks}
    results = {law: judge(measure) for law, measure in applicable.items()}
    density.train(was_training)
    own = results.get("normalised")
    if own is not None and own.passed and (small := _normalised_when_small(density)) and not small.passed:
        results["normalised"] = small
    return results


def _some_of(train: np.ndarray | None, rows: Tensor, seed: int) -> Tensor:
    """At most `ROWS` of the training rows, as the density takes them."""
    if train is None:
        return rows
    chosen = np.random.default_rng(seed).permutation(len(train))[:ROWS]
    return torch.as_tensor(np.asarray(train[np.sort(chosen)]), dtype=rows.dtype, device=rows.device)


def _normalised_when_small(density: Density) -> Law | None:
    """The law `normalised` of a class of a user's own in 1 or 2 dimensions, where a grid can tell; None where it says
    nothing: a class of this package's, or one that does not take other widths.
    """
    method = density.config.get("method")
    own = any(isinstance(module, Density) and module.origin for module in density.modules())
    if density.features in GRIDS or not own or method is None or only_features(parse_method(method)) is not None:
        return None
    return _small(str(method))


@functools.cache
def _small(method: str) -> Law | None:
    """Measured once in a process: the class is fitted to a few synthetic rows."""
    found = None
    for width in GRIDS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a fit to a few rows need not converge
                subject = _Subject(_tiny(method), 0)
                case = subject.fitted(width)
        except Exception:  # whatever a class raises that is not made for this width
            continue
        found = judge(lambda case=case: measures.normalised(case.density, case.rows))  # type: ignore[misc]
        if not found.passed:
            return replace(found, detail=f"on synthetic rows: {found.detail}")
    return found
