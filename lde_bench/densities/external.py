"""Densities of a user's own: any class with `fit` and `log_prob` or `score_samples`, made a `Density`.

Four kinds of class are taken, spelled `package.module:Class` or found under the entry points `lde_bench.densities`:

- a `Density`, as it is;
- the torch habit, `fit` and `log_prob`; NumPy arrays, float32, are tried before tensors, the other way round for the
  `log_prob` of an `nn.Module`;
- the scikit-learn habit, `fit` and `score_samples`, on float64 arrays;
- an `nn.Module` without `fit` whose call returns a distribution (the zuko habit), or that has `log_prob` itself. It is
  trained by our loop.

The constructor is given the number of features where it has an argument named as one of `FEATURES`, the seed where it
has `random_state` or `seed`, and what the method spells; `components` stands for whichever of `COMPONENTS` it has.
Its own `fit` is given the training array, and those of `validation`, `seed`, `steps`, `profile`, `random_state` that
its signature names. A class is tried on a few synthetic rows before it is given the data: `probe`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lde_bench.densities.base import Density
from lde_bench.densities.bijections import distributions_unchanged
from lde_bench.errors import InputError, UnknownMethod
from lde_bench.registry import did_you_mean
from lde_bench.training.batches import Batches
from lde_bench.training.device import Compiler
from lde_bench.training.learner import Learner, ModuleLearner
from lde_bench.training.model import Card, TrainingRequest, seeded
from lde_bench.training.plan import PROFILES, Budget, Plan

GROUP = "lde_bench.densities"

#: Names under which a constructor may ask for the number of features, and for that of a mixture's components.
FEATURES = ("features", "in_features", "n_features", "num_features", "dim", "n_dim", "ndim", "n_dims", "input_dim")
COMPONENTS = ("components", "n_components", "num_components")
SEEDS = ("random_state", "seed")

#: Training steps of a profile: of our loop, and given to a `fit` that needs `steps` where no `--steps` is.
STEPS = {"quick": 1_000, "standard": 20_000, "paper": 100_000}
#: Rows given to a `fit` where patches are drawn afresh without end.
FRESH_ROWS = 200_000
#: Rows on which a class is tried; more for a mixture of many components.
PROBE_ROWS = 256
#: Training rows whose mean log-likelihood stands for the loss of a fit that tells none.
LOSS_ROWS = 1_000

Form = Literal["array", "tensor"]


@dataclass(frozen=True)
class Habits:
    """What the probe found: what `fit` and the log-density take, and whether the model can do more."""

    fit: Form
    rows: Form
    samples: bool
    gradients: bool


# -- finding the class -------------------------------------------------------------------------------------------------


def entry_points() -> dict[str, str]:
    """Name -> `package.module:Class` of the densities that installed packages bring."""
    return {each.name: f"{each.module}:{each.attr}" for each in importlib.metadata.entry_points(group=GROUP)}


@functools.cache
def external_class(name: str, target: str | None = None) -> type[Density]:
    """The class that `target` (by default `name`) spells as `package.module:Class`, as a density called `name`.

    Raises:
        InputError: there is no such module or class, or it does not keep the contract.
    """
    found = _import(name, target or name)
    origin = {"code": _version_of(found)}
    if issubclass(found, Density):
        return _density_subclass(name, found, origin)
    own_fit = callable(getattr(found, "fit", None))
    is_module = issubclass(found, nn.Module)
    if not own_fit and not is_module:
        raise InputError(
            f"{name}: {found.__name__} has no fit(train), and is no torch.nn.Module that could be trained without; "
            "give it a method fit."
        )
    if own_fit and not any(callable(getattr(found, method, None)) for method in ("log_prob", "score_samples")):
        raise InputError(
            f"{name}: {found.__name__} has neither log_prob nor score_samples; give it log_prob(x), which returns the "
            "log-density in nats, [n], of rows x [n, D]."
        )
    if own_fit:
        _check_fit(name, found)
        origin |= {"fit": "its own"} | ({} if is_module else {"weights": "none kept: no torch module"})
    base: type[Stranger] = OwnFit if own_fit else Module
    signature = _signature(name, found)

    def __init__(self: Stranger, features: int, **arguments: Any) -> None:  # noqa: N807
        base.__init__(self, features, **arguments)

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    paragraph = " ".join((inspect.getdoc(found) or "").strip().partition("\n\n")[0].split())
    card = Card(
        summary=paragraph.partition(". ")[0].rstrip(".") or f"the class {found.__name__} of {found.__module__}",
        source=f"{found.__module__}.{found.__qualname__} ({origin['code']})",
        sample_cost="one call of its own sampler"
        if is_module or hasattr(found, "sample")
        else "none: it has no sample",
        differences="as its own package has it",
    )
    body = {
        "name": name,
        "card": card,
        "target": found,
        "origin": origin,
        "__init__": __init__,
        "__doc__": found.__doc__,
    }
    return type(found.__name__, (base,), body)


def _density_subclass(name: str, found: type[Density], origin: dict[str, str]) -> type[Density]:
    plain: dict[str, Any] = {
        "card": Card(f"the density {found.__name__} of {found.__module__}", found.__module__, "its own"),
        "plans": Module.plans,
    }
    lacking = {key: value for key, value in plain.items() if not hasattr(found, key)}
    body = {"name": name, "origin": origin, "__module__": found.__module__, "__doc__": found.__doc__}
    return type(found.__name__, (found,), {**body, **lacking})


def _import(name: str, target: str) -> type:
    module_name, _, path = target.partition(":")
    spelling = "spell a class as package.module:Class, and arguments as key=value"
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` has it: the file of a user's is in the current folder
    importlib.invalidate_caches()
    try:
        with distributions_unchanged():
            found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(f"{name}: module '{module_name}' needs '{error.name}', which is not installed.") from error
        raise UnknownMethod(
            f"{name}: there is no module '{module_name}' in the current folder or installed; {spelling}."
        ) from error
    except Exception as error:  # whatever a user's file raises when it runs
        raise InputError(f"{name}: importing '{module_name}' raised {_told(error)}; repair that module.") from error
    for part in path.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, vars(found)).rstrip("? ") or spelling
            raise UnknownMethod(f"{name}: module '{module_name}' has no class '{path}'; {hint}.")
        found = getattr(found, part)
    if not inspect.isclass(found):
        raise InputError(f"{name}: '{path}' of module '{module_name}' is a {type(found).__name__}; name a class.")
    return found


def _version_of(found: type) -> str:
    """Names the code of a class: version of the package where it has one, and hash of the file where it has one."""
    words = []
    package = found.__module__.partition(".")[0]
    for distribution in importlib.metadata.packages_distributions().get(package, [])[:1]:
        words.append(f"{distribution} {importlib.metadata.version(distribution)}")
    with suppress(OSError, TypeError):  # built in, or typed at a prompt: there is no file
        words.append(hashlib.sha256(Path(inspect.getfile(found)).read_bytes()).hexdigest()[:12])
    return ", ".join(words) or "unknown"


# -- what its methods take ---------------------------------------------------------------------------------------------


def _first_of(names: tuple[str, ...], parameters: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in parameters), None)


def _parameters(name: str, what: str, function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: the arguments of {what} cannot be read; write it in Python.") from error


def _signature(name: str, found: type) -> inspect.Signature:
    """What a method may spell: the constructor's own arguments, `components` for however it calls them."""
    own = _parameters(name, "its constructor", found)
    features, components = _first_of(FEATURES, own), _first_of(COMPONENTS, own)
    kinds = inspect.Parameter
    parameters = [kinds("self", kinds.POSITIONAL_OR_KEYWORD), kinds("features", kinds.POSITIONAL_OR_KEYWORD)]
    for key, parameter in own.items():
        if key != features and parameter.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY):
            spelled = "components" if key == components else key
            parameters.append(parameter.replace(name=spelled, kind=kinds.KEYWORD_ONLY))
    return inspect.Signature(parameters + [each for each in own.values() if each.kind is kinds.VAR_KEYWORD])


def _check_fit(name: str, found: Any) -> None:
    parameters = list(_parameters(name, "fit", found.fit).values())[1:]
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if not positional and not any(each.kind is each.VAR_POSITIONAL for each in parameters):
        raise InputError(f"{name}: fit takes no training array; its first argument should be train [n, D].")
    given = ("validation", "seed", "steps", "profile", "random_state")
    for each in parameters:
        needed = each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        if needed and each is not positional[0] and each.name not in given:
            raise InputError(
                f"{name}: fit needs the argument '{each.name}', which is none of {', '.join(given)}; give it a default."
            )


@contextmanager
def _seeded_everywhere(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch inside, and give them back as they were."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 (a stranger may draw from it)
    with seeded(seed, torch.device("cpu")):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


def _told(error: Exception) -> str:
    """An exception as a clause of a sentence."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# -- the adapters ------------------------------------------------------------------------------------------------------


class Stranger(Density):
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
        lacking = {"weights": self._is_module, "float64": self._is_module, "perturbation": False}
        lacking |= {"samples": habits.samples, "gradients": habits.gradients}
        return frozenset(what for what, there in lacking.items() if not there)

    @property
    def _is_module(self) -> bool:
        return issubclass(self.target, nn.Module)

    def parameter_count(self) -> int | None:
        return super().parameter_count() if self._is_module else None

    def _build(self, seed: int) -> Any:
        own = _parameters(self.name, "its constructor", self.target)
        given = dict(self.arguments)
        if "components" in given:
            given[_first_of(COMPONENTS, own) or "components"] = given.pop("components")
        if features := _first_of(FEATURES, own):
            if features in given:
                raise InputError(f"{self.name}: '{features}' is that of the data; leave it out of the method.")
            given[features] = self.features
        given = {key: seed % 2**32 for key in SEEDS if key in own} | given
        for key, parameter in own.items():
            required = parameter.default is parameter.empty
            if (
                required
                and key not in given
                and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            ):
                raise InputError(
                    f"{self.name}: its constructor needs '{key}', which lde-bench cannot know; "
                    f"give it as in {self.name}:{key}=VALUE."
                )
        try:
            model = self.target(**given)
        except Exception as error:  # whatever a user's constructor raises
            raise InputError(
                f"{self.name}: its constructor raised {_told(error)}; correct the arguments or the class."
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
        with _seeded_everywhere(seed):
            drawn = self._seeded_sampler(seed)(n)
        return torch.as_tensor(drawn[0] if isinstance(drawn, tuple) else drawn).detach()  # scikit-learn: (X, labels)

    def _seeded_sampler(self, seed: int) -> Callable[[int], Any]:
        """The sampler with `seed` in its `seed` or `random_state`, its own or its model's."""
        sampler = self._sampler()
        parameters = _parameters(self.name, "sample", sampler)
        if key := _first_of(SEEDS, parameters):
            return functools.partial(sampler, **{key: seed})
        if hasattr(self.model, "random_state"):
            self.model.random_state = seed
        return sampler

    def _probe(self, rows: Tensor) -> Habits:
        """Fit on `rows` and evaluate them; what the model was found to do."""
        raise TypeError(f"{type(self).__name__} does not define _probe")

    def _probe_samples(self) -> bool:
        if not callable(self._sampler()):
            return False
        try:
            drawn = self._draw(3, 0)
        # No fault to report: torch's Distribution, and scikit-learn's KernelDensity with most kernels, have the method
        # and say by this error that they cannot sample. The row then has a density and no samples.
        except NotImplementedError:
            return False
        except Exception as error:  # whatever a user's sampler raises
            raise InputError(
                f"{self.name}: sample(3) raised {_told(error)}; it should return 3 rows, or leave the method out."
            ) from error
        if drawn.shape != (3, self.features):
            raise InputError(
                f"{self.name}: sample(3) should return 3 rows of {self.features}, got shape {list(drawn.shape)}; "
                "return [n, D], or leave the method out."
            )
        return True


def _checked(name: str, what: str, values: Any, rows: int) -> Tensor:
    """The log-densities `values`, as they should be: numbers [rows], finite."""
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: {what} should return log-densities [n], got a {type(values).__name__}.") from error
    if found.shape != (rows,):
        raise InputError(
            f"{name}: {what} should return one log-density per row, shape [{rows}] for {rows} rows, got "
            f"{list(found.shape)}; return [n] in nats."
        )
    if not torch.isfinite(found).all():
        bad = int((~torch.isfinite(found)).sum())
        raise InputError(
            f"{name}: {what} is NaN or infinite on {bad} of {rows} of the rows that it was fitted to, on "
            "synthetic data; return finite log-densities."
        )
    return found


class OwnFit(Stranger):
    """A class with `fit`, and `log_prob` or `score_samples`."""

    # One step: the class's own fit.
    plans: ClassVar[dict[str, Plan]] = dict.fromkeys(
        PROFILES, Plan(steps=1, batch_size=1, closed_form=True, bf16=False)
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
        if form == "tensor":
            return torch.as_tensor(rows, dtype=self.dtype if self._is_module else torch.float32, device=self.device)
        array = rows.detach().cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows)
        return array.astype(np.float64 if self._method == "score_samples" else np.float32)

    def fit_own(self, train: np.ndarray | Tensor, request: TrainingRequest, form: Form) -> None:
        """The class's own `fit`, given those arguments that its signature names."""
        seed, budget, validation = request.seed % 2**32, request.budget, request.validation
        parameters = _parameters(self.name, "fit", self.model.fit)
        given: dict[str, Any] = {"seed": seed, "random_state": seed, "profile": budget.profile}
        if budget.steps is not None or ("steps" in parameters and _is_required(parameters["steps"])):
            given["steps"] = budget.steps or STEPS[budget.profile]
        if "validation" in parameters and (validation is not None or _is_required(parameters["validation"])):
            given["validation"] = None if validation is None else self._as(form, validation)
        chosen = {key: value for key, value in given.items() if key in parameters}
        with _seeded_everywhere(request.seed), torch.enable_grad():
            self.model.fit(self._as(form, train), **chosen)

    def _log_density(self, x: Tensor, form: Form) -> Tensor:
        values = getattr(self.model, self._method)(self._as(form, x))
        return torch.as_tensor(values).to(x)

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
        values = _checked(self.name, self._method, self._call(few, taken), len(few))
        return Habits(fitted, taken, self._probe_samples(), values.requires_grad)

    def _call(self, rows: Tensor, form: Form) -> Any:
        with torch.enable_grad():
            return getattr(self.model, self._method)(self._as(form, rows))

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
            f"{self.name}: {what} raised {_told(first)} on {PROBE_ROWS} synthetic rows [n, {self.features}]; it should "
            "take NumPy arrays or tensors [n, D]."
        ) from first


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty


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


class Module(Stranger):
    """An `nn.Module` without `fit`, trained by our loop: its call returns a distribution, or it has `log_prob`."""

    plans: ClassVar[dict[str, Plan]] = {
        profile: Plan(
            steps=steps, clip=5.0, validate_every=max(100, steps // 40), bf16=False, reference_seconds=seconds
        )
        for (profile, steps), seconds in zip(STEPS.items(), (60, 1200, 6000), strict=True)
    }

    @property
    def _has_log_prob(self) -> bool:
        return callable(getattr(self.target, "log_prob", None))

    def _log_density(self, x: Tensor, form: Form) -> Tensor:
        return (self.model if self._has_log_prob else self.model()).log_prob(x)

    def forward(self, x: Tensor) -> Tensor:
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
                distribution = self.model()
            except Exception as error:  # whatever a user's module raises
                raise InputError(
                    f"{self.name}: it is a torch.nn.Module without fit, and calling it raised {_told(error)}; its call "
                    "should return a distribution, or give it fit and log_prob."
                ) from error
            if not callable(getattr(distribution, "log_prob", None)):
                raise InputError(
                    f"{self.name}: it is a torch.nn.Module without fit, and its call returned a "
                    f"{type(distribution).__name__} without log_prob; it should return a distribution."
                )
        few = rows[:5]
        try:
            found = self._log_density(few, "tensor")
        except Exception as error:  # whatever a user's module raises
            raise InputError(
                f"{self.name}: {what} raised {_told(error)} on a tensor {list(few.shape)}; it should take [n, D]."
            ) from error
        values = _checked(self.name, what, found, len(few))
        if not values.requires_grad:
            raise InputError(f"{self.name}: {what} has no gradient, so our loop cannot train it; give it a method fit.")
        return Habits("tensor", "tensor", self._probe_samples(), True)


def _of_shape(sampler: Callable[[tuple[int]], Any], n: int) -> Any:
    """`n` samples of a distribution of torch's habit."""
    return sampler((n,))


@functools.cache
def _habits(kind: Any, features: int, arguments: str) -> Habits:
    chosen = json.loads(arguments)
    components = chosen.get("components", 1)
    rows = PROBE_ROWS if not isinstance(components, int) else max(PROBE_ROWS, 4 * components)
    with warnings.catch_warnings(), _seeded_everywhere(0), torch.enable_grad():
        warnings.simplefilter("ignore")  # a fit to a few rows need not converge
        return kind(features, **chosen)._probe(_probe_rows(rows, features))


def _probe_rows(n: int, features: int) -> Tensor:
    """Skewed rows of about unit size, each number correlated with its left neighbour: float32 [n, D]."""
    normal = np.random.default_rng(0).normal(size=(n, features))
    rows = normal + 0.3 * (normal**2 - 1) + 0.5 * np.roll(normal, 1, axis=1)
    return torch.as_tensor(rows, dtype=torch.float32)


def probe(density: Density) -> None:
    """Try a density of a user's own, alone or inside wrappers, on a few synthetic rows; others are not touched.

    Raises:
        InputError: it does not keep the contract; one sentence says which method, and what was expected.
    """
    for module in density.modules():
        if isinstance(module, Stranger):
            module.habits  # noqa: B018 (measured for what it raises)
        elif isinstance(module, Density) and module.origin:
            rows = _probe_rows(5, module.features)
            try:
                with torch.no_grad():
                    values = module(rows)
            except Exception as error:  # whatever a user's density raises
                raise InputError(
                    f"{module.name}: forward raised {_told(error)} on a tensor {list(rows.shape)}; it should take "
                    "[n, D] and return [n] nats."
                ) from error
            _checked(module.name, "forward", values, len(rows))
