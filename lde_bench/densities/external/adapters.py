"""The adapters that make a `Density` of a class of a user's own."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from lde_bench.densities.base import Density
from lde_bench.densities.external.contract import (
    COMPONENTS,
    FEATURES,
    PROBE_ROWS,
    SEEDS,
    Form,
    Habits,
    checked,
    first_of,
    is_required,
    parameters_of,
    probe_rows,
    told,
)
from lde_bench.errors import InputError
from lde_bench.process import process_unchanged, seeded
from lde_bench.training.batches import Batches, MappedBatches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, ModuleLearner
from lde_bench.training.model import TrainingRequest, own_tensors
from lde_bench.training.plan import PROFILES, Budget, Plan

#: Training steps of a profile: of our loop, and given to a `fit` that needs `steps` where no `--steps` is.
STEPS = {"quick": 1_000, "standard": 20_000, "long": 120_000, "paper": 100_000}
#: Rows given to a `fit` where patches are drawn afresh without end.
FRESH_ROWS = 200_000
#: Training rows whose mean log-likelihood stands for the loss of a fit that tells none.
LOSS_ROWS = 1_000


class Guest(Density):
    """A density whose code is a user's own, which runs in the process as its module set it and leaves no trace."""

    #: What the import of its module set for the process; it holds inside its own methods.
    process_settings: ClassVar[dict[str, Any]] = {}

    def _alone(self, *, generators: bool = True) -> AbstractContextManager[Any]:
        return process_unchanged(self.process_settings, generators=generators)

    @property
    def _trains_plainly(self) -> bool:
        """Whether a forward pass is one of a training step: then the whole `fit`, or the trial, leaves no trace."""
        return torch.compiler.is_compiling() or (self.training and not self.process_settings)

    @property
    def size(self) -> float:
        return 1.0  # whether its arguments have a usual value nobody knows

    def fit(self, *data: Any, **options: Any) -> Self:
        with self._alone():
            return super().fit(*data, **options)


class OwnDensity(Guest):
    """A `Density` of a user's own, which comes behind this class among the bases; its random generators run on."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        if self._trains_plainly:
            return super().forward(x)
        with self._alone(generators=False):
            return super().forward(x)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        with self._alone(generators=False):
            return super().draw(n, generator)

    def reset_parameters(self) -> None:
        with self._alone(generators=False):
            super().reset_parameters()

    def prepare(self, batches: Batches) -> None:
        with self._alone(generators=False):
            super().prepare(MappedBatches(batches, np.array))


class Adapter(Guest):
    """What both adapters share. `model` is the user's object."""

    target: ClassVar[type]
    trains_in_bf16 = False

    where: Tensor

    def __init__(self, features: int, **arguments: Any) -> None:
        super().__init__(features)
        self.arguments = arguments
        # Says where the density lives and in what precision: the model need not have parameters.
        self.register_buffer("where", torch.zeros(()), persistent=False)
        self.model: Any = self._build(0)

    @property
    def lacks(self) -> frozenset[str]:
        habits = self.habits
        lacking = {"weights": habits.weights, "float64": self._is_module, "perturbation": False}
        lacking |= {"samples": habits.samples, "gradients": habits.gradients}
        return frozenset(what for what, there in lacking.items() if not there)

    @property
    def _is_module(self) -> bool:
        return issubclass(self.target, nn.Module)

    def parameter_count(self) -> int | None:
        return super().parameter_count() if self._is_module else None

    def _build(self, seed: int) -> Any:
        own = parameters_of(self.name, "its constructor", self.target)
        given = dict(self.arguments)
        if "components" in given:
            given[first_of(COMPONENTS, own) or "components"] = given.pop("components")
        if features := first_of(FEATURES, own):
            if features in given:
                raise InputError(f"{self.name}: '{features}' is that of the data; leave it out of the method.")
            given[features] = self.features
        given = {key: seed % 2**32 for key in SEEDS if key in own} | given
        for key, parameter in own.items():
            if is_required(parameter) and key not in given:
                raise InputError(
                    f"{self.name}: its constructor needs '{key}', which lde-bench cannot know; "
                    f"give it as in {self.name}:{key}=VALUE."
                )
        try:
            with self._alone(generators=False):  # each member of an ensemble has weights of its own
                model = self.target(**given)
        except Exception as error:  # whatever a user's constructor raises
            raise InputError(
                f"{self.name}: its constructor raised {told(error)}; correct the arguments or the class."
            ) from error
        return model.to(self.where) if isinstance(model, nn.Module) else model

    def reset_parameters(self) -> None:
        self.model = self._build(torch.initial_seed())

    @property
    def habits(self) -> Habits:
        """What the class was found to do on a few synthetic rows; measured once in a process.

        Raises:
            InputError: it does not keep the contract.
        """
        kind: Any = type(self)  # hashable, whatever mypy makes of the __hash__ of modules
        return _habits(kind, self.features, json.dumps(self.arguments, sort_keys=True))

    def prepare(self, batches: Batches) -> None:
        self.habits  # noqa: B018 (raises before the real training, where the contract is broken)

    def forward(self, x: Tensor) -> Tensor:
        return self._log_density(x, self.habits.rows)

    def _log_density(self, x: Tensor, form: Form) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not define _log_density")

    def _sampler(self) -> Any:
        """What draws n samples, called with n; anything that is not callable where there is nothing."""
        raise TypeError(f"{type(self).__name__} does not define _sampler")

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        if not self.habits.samples:
            raise InputError(f"{self.name}: it has no sample(n); give it one to draw samples.")
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        return self._draw(n, seed).to(self.where)

    def _draw(self, n: int, seed: int) -> Tensor:
        with self._alone(), seeded(seed):
            drawn = self._seeded_sampler(seed)(n)
        rows = drawn[0] if isinstance(drawn, tuple) else drawn  # scikit-learn: (X, labels)
        return torch.as_tensor(rows).detach().clone()

    def _seeded_sampler(self, seed: int) -> Callable[[int], Any]:
        """The sampler with `seed` in its `seed` or `random_state`, its own or its model's."""
        sampler = self._sampler()
        parameters = parameters_of(self.name, "sample", sampler)
        if key := first_of(SEEDS, parameters):
            return functools.partial(sampler, **{key: seed})
        if hasattr(self.model, "random_state"):
            self.model.random_state = seed
        return sampler

    def _probe(self, rows: Tensor) -> Habits:
        """Fit on `rows` and evaluate them; what the model was found to do."""
        raise TypeError(f"{type(self).__name__} does not define _probe")

    def _probe_samples(self) -> bool:
        try:
            with self._alone():
                if not callable(self._sampler()):
                    return False
            drawn = self._draw(3, 0)
        except NotImplementedError:  # how others' models say that they cannot sample
            # No fault to report: torch's Distribution, and scikit-learn's KernelDensity with most kernels, have the
            # method and say by this error that they cannot sample. The row then has a density and no samples.
            return False
        except Exception as error:  # whatever a user's sampler raises
            raise InputError(
                f"{self.name}: sample(3) raised {told(error)}; it should return 3 rows, or leave the method out."
            ) from error
        if drawn.shape != (3, self.features):
            raise InputError(
                f"{self.name}: sample(3) should return 3 rows of {self.features}, got shape {list(drawn.shape)}; "
                "return [n, D], or leave the method out."
            )
        return True

    def _probe_weights(self) -> bool:
        """Whether the weights can be stored, and loaded into a new model of this kind."""
        if not self._is_module:
            return False
        try:
            stored = load(save(own_tensors(self)))
            type(self)(self.features, **self.arguments).load_state_dict(stored)
        except Exception:  # no tensor, a number format that cannot be stored, a shape that `fit` chose, ...
            return False
        return True


class OwnFit(Adapter):
    """A class with `fit`, and `log_prob` or `score_samples`."""

    # One step: the class's own fit.
    plans: ClassVar[dict[str, Plan]] = dict.fromkeys(
        PROFILES, Plan(steps=1, batch_size=1, closed_form=True, own_fit=True, bf16=False)
    )

    def __init__(self, features: int, **arguments: Any) -> None:
        super().__init__(features, **arguments)
        self._train: np.ndarray | None = None
        self._request: TrainingRequest | None = None

    def prepare(self, batches: Batches) -> None:
        super().prepare(batches)
        self._train = batches.take(batches.size or FRESH_ROWS)

    def request(self, request: TrainingRequest) -> None:
        self._request = request

    def learner(self, plan: Plan, device: torch.device, precision: str, compiler: Compiler) -> Learner:
        assert self._train is not None
        assert self._request is not None
        train, request = self._train, self._request
        self._train = self._request = None  # the data are not part of the model
        return _OwnFitting(self, train, request)

    @property
    def _method(self) -> str:
        return "log_prob" if callable(getattr(self.target, "log_prob", None)) else "score_samples"

    def _as(self, form: Form, rows: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """A copy of `rows`, which the class may change."""
        if form == "tensor":
            dtype = self.dtype if self._is_module else torch.float32
            if isinstance(rows, Tensor):
                return rows.to(self.device, dtype, copy=True)
            return torch.tensor(rows, dtype=dtype, device=self.device)
        array = rows.detach().cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows)
        return array.astype(np.float64 if self._method == "score_samples" else np.float32)

    def fit_own(self, train: np.ndarray | Tensor, request: TrainingRequest, form: Form) -> None:
        """The class's own `fit`, given those arguments that its signature names."""
        seed, budget, validation = request.seed % 2**32, request.budget, request.validation
        parameters = parameters_of(self.name, "fit", self.model.fit)
        given: dict[str, Any] = {"seed": seed, "random_state": seed, "profile": budget.profile}
        if budget.steps is not None or ("steps" in parameters and is_required(parameters["steps"])):
            given["steps"] = budget.steps or STEPS[budget.profile]
        if "validation" in parameters and (validation is not None or is_required(parameters["validation"])):
            given["validation"] = None if validation is None else self._as(form, validation)
        chosen = {key: value for key, value in given.items() if key in parameters}
        rows = self._as(form, train)
        with self._alone(), seeded(request.seed), torch.enable_grad():
            self.model.fit(rows, **chosen)

    def _log_density(self, x: Tensor, form: Form) -> Tensor:
        rows = self._as(form, x)
        with self._alone():
            values = getattr(self.model, self._method)(rows)
        return torch.as_tensor(values).to(x, copy=True)

    def _sampler(self) -> Any:
        return getattr(self.model, "sample", None)

    def _probe(self, rows: Tensor) -> Habits:
        request = TrainingRequest(0, Budget.of("quick", steps=2), rows[: len(rows) // 4])

        def fit(form: Form) -> Form:
            self.model = self._build(0)
            self.fit_own(rows, request, form)
            return form

        fitted = self._first_form("fit", ("array", "tensor"), fit)
        few = rows[:5]
        forms: tuple[Form, Form] = ("tensor", "array") if self._is_module else ("array", "tensor")
        taken = self._first_form(self._method, forms, lambda form: (self._call(few, form), form)[1])
        values = checked(self.name, self._method, self._call(few, taken), len(few))
        return Habits(fitted, taken, self._probe_samples(), values.requires_grad, self._probe_weights())

    def _call(self, rows: Tensor, form: Form) -> Any:
        given = self._as(form, rows)
        with self._alone(), torch.enable_grad():
            return getattr(self.model, self._method)(given)

    def _first_form(self, what: str, forms: tuple[Form, Form], attempt: Callable[[Form], Form]) -> Form:
        """The first of two forms of data that a method takes."""
        first: Exception | None = None
        for form in forms:
            try:
                return attempt(form)
            except Exception as error:  # whatever a user's method raises
                first = first or error
        assert first is not None
        raise InputError(
            f"{self.name}: {what} raised {told(first)} on {PROBE_ROWS} synthetic rows [n, {self.features}]; it should "
            "take NumPy arrays or tensors [n, D]."
        ) from first


class _OwnFitting(ModuleLearner):
    """One step: the class's own fit."""

    module: OwnFit

    def __init__(self, module: OwnFit, train: np.ndarray, request: TrainingRequest) -> None:
        super().__init__(module)
        self.train = train
        self.request = request
        self.fitted = False

    def step(self, batch: Tensor, step: int, progress: float) -> float:
        self.module.fit_own(self.train, self.request, self.module.habits.fit)
        self.module.eval()
        self.fitted = True
        some = torch.as_tensor(self.train[:LOSS_ROWS]).to(self.module.where)
        with torch.no_grad():
            return -self.module(some).double().mean().item()

    def adopt(self, weights: dict[str, Tensor]) -> None:
        self.module.eval()  # there is one candidate, and it is in place

    def state_dict(self) -> dict[str, Any]:
        return {"fitted": self.fitted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["fitted"] != self.fitted:
            raise ValueError("a fit of the class's own is not kept in checkpoints")


class Module(Adapter):
    """An `nn.Module` without `fit`, trained by our loop: its call returns a distribution, or it has `log_prob`."""

    plans: ClassVar[dict[str, Plan]] = {
        profile: Plan(
            steps=steps, clip=5.0, validate_every=max(100, steps // 40), bf16=False, reference_seconds=seconds
        )
        for (profile, steps), seconds in zip(STEPS.items(), (60, 1200, 7200, 6000), strict=True)
    }

    @property
    def _has_log_prob(self) -> bool:
        return callable(getattr(self.target, "log_prob", None))

    def _log_density(self, x: Tensor, form: Form) -> Tensor:
        return (self.model if self._has_log_prob else self.model()).log_prob(x)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        if self._trains_plainly:
            return self._log_density(x, "tensor")
        # In training the generators run on: another step, another dropout.
        with self._alone(generators=not self.training):
            return self._log_density(x, "tensor")

    def _sampler(self) -> Any:
        if self._has_log_prob:
            return getattr(self.model, "sample", None)
        sampler = getattr(self.model(), "sample", None)
        return functools.partial(_of_shape, sampler) if callable(sampler) else None

    def _probe(self, rows: Tensor) -> Habits:
        what = "log_prob"
        if not self._has_log_prob:
            what = "the log_prob of the distribution that its call returns"
            try:
                with self._alone():
                    distribution = self.model()
            except Exception as error:  # whatever a user's module raises
                raise InputError(
                    f"{self.name}: it is a torch.nn.Module without fit, and calling it raised {told(error)}; its call "
                    "should return a distribution, or give it fit and log_prob."
                ) from error
            if not callable(getattr(distribution, "log_prob", None)):
                raise InputError(
                    f"{self.name}: it is a torch.nn.Module without fit, and its call returned a "
                    f"{type(distribution).__name__} without log_prob; it should return a distribution."
                )
        few = rows[:5]
        try:
            with self._alone():
                found = self(few)
        except Exception as error:  # whatever a user's module raises
            raise InputError(
                f"{self.name}: {what} raised {told(error)} on a tensor {list(few.shape)}; it should take [n, D]."
            ) from error
        values = checked(self.name, what, found, len(few))
        if not values.requires_grad:
            raise InputError(f"{self.name}: {what} has no gradient, so our loop cannot train it; give it a method fit.")
        return Habits("tensor", "tensor", self._probe_samples(), True, self._probe_weights())


def _of_shape(sampler: Callable[[tuple[int]], Any], n: int) -> Any:
    """`n` samples of a distribution of torch's habit."""
    return sampler((n,))


@functools.cache
def _habits(kind: Any, features: int, arguments: str) -> Habits:
    chosen = json.loads(arguments)
    components = chosen.get("components", 1)
    rows = PROBE_ROWS if not isinstance(components, int) else max(PROBE_ROWS, 4 * components)
    with process_unchanged(kind.process_settings), seeded(0), torch.enable_grad():
        warnings.simplefilter("ignore")  # a fit to a few rows need not converge
        return kind(features, **chosen)._probe(probe_rows(rows, features))
