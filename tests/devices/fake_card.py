"""A GPU that is none: arithmetic of the CPU under a map that says which tensors are on the card.

Which storages lie on the card is written on them, so views, parameters and `.data` follow. A mode of functions stands
where Python asks for a device (`.to`, `device=`, `.device`, `.numpy()`, generators); a mode of dispatch sees every
operation, those of backward passes too, and refuses what CUDA refuses: operands on both sides, and in a graph that is
recorded what the processor must wait for.
What is exact on the CPU stays so to the bit; the card has a global random generator of its own, as a GPU has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_map_only

CPU, CARD = torch.device("cpu"), torch.device("cuda", 0)
TWO_DEVICES = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
NAME = "a card that is none"
RECORDING = "operation not permitted when stream is capturing"

_MOVES = {Tensor.to, Tensor.cpu, Tensor.cuda, torch.as_tensor, torch.asarray}
_TO_NUMPY = {Tensor.numpy, Tensor.__array__}
_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
#: Of the operations that torch does not mark as pointwise, those that take a number of the host in a tensor.
_TAKE_NUMBERS = ("aten::masked_fill", "aten::fill", "aten::_foreach_", "aten::index_put", "aten::_index_put_impl_")


def place_of(tensor: Tensor) -> torch.device:
    """Where the tensor lies."""
    if tensor.device.type != "cpu":  # meta
        return tensor.device
    return CARD if getattr(tensor.untyped_storage(), "on_card", False) else CPU


def _leaves(values: Any) -> Iterator[Any]:
    """What lists, tuples and dicts hold."""
    for each in values.values() if isinstance(values, dict) else values:
        if isinstance(each, tuple | list | dict):
            yield from _leaves(each)
        else:
            yield each


def _tensors(values: Any) -> list[Tensor]:
    return [each for each in _leaves(values) if isinstance(each, Tensor)]


def _put(result: Any, place: torch.device) -> Any:
    """`result`, its tensors said to lie there."""
    for tensor in _tensors([result]):
        if tensor.device.type == "cpu":
            tensor.untyped_storage().on_card = place == CARD  # type: ignore[attr-defined]
    return result


def _moved(result: Any, place: torch.device) -> Any:
    """`result`, its tensors copied where they lie elsewhere."""
    return tree_map_only(Tensor, lambda each: each if place_of(each) == place else _put(each.clone(), place), result)


def _device(choice: Any) -> torch.device:
    kind = torch.device(choice)
    return CARD if kind.type == "cuda" else kind


class Generator(torch.Generator):
    """A random generator that says which device it is of."""

    place: torch.device

    def __new__(cls, device: torch.device | str = "cpu") -> Generator:
        self = super().__new__(cls)
        self.place = _device(device)
        return self

    @property
    def device(self) -> torch.device:
        return self.place


class _GeneratorState:
    """What the card's global generator shares with recordings: whether it takes itself for one of theirs."""

    def __init__(self) -> None:
        self.recording = False

    def check(self) -> None:
        """Refuse to draw, and to replay what was recorded with it, after a recording that failed.

        Raises:
            RuntimeError: one failed.
        """
        if self.recording:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")


class FakeCard(TorchDispatchMode):
    """What torch runs: a result lies where the operands do, and without any where `place` says."""

    def __init__(self) -> None:
        super().__init__()
        self.place = CPU
        #: Of the card's global generator, which a GPU has; None: the host's is drawn from, for the same numbers.
        self.random_state: Tensor | None = None
        self.generator = _GeneratorState()

    @contextmanager
    def at(self, place: torch.device) -> Iterator[None]:
        """Make what has no operands there, inside."""
        before, self.place = self.place, place
        try:
            yield
        finally:
            self.place = before

    @contextmanager
    def random_numbers(self) -> Iterator[None]:
        """Draw from the card's global generator inside."""
        if self.random_state is None:
            yield
            return
        host = torch.get_rng_state()
        torch.set_rng_state(self.random_state)
        try:
            yield
        finally:
            self.random_state = torch.get_rng_state()
            torch.set_rng_state(host)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = list(_leaves((args, kwargs or {})))
        operands = [each for each in leaves if isinstance(each, Tensor)]
        place = self.place if not operands else CARD if any(place_of(each) == CARD for each in operands) else CPU
        if func._schema.name == "aten::copy_":  # goes from one device to another
            return func(*args, **kwargs or {})
        if place == CARD:
            _check_operands(func, args, operands)
        draws = torch.Tag.nondeterministic_seeded in func.tags and not any(
            isinstance(x, torch.Generator) for x in leaves
        )
        if draws and place == CARD:
            self.generator.check()
        with self.random_numbers() if draws and place == CARD else nullcontext():
            return _put(func(*args, **kwargs or {}), place)


def _check_operands(func: Any, args: Any, operands: list[Tensor]) -> None:
    """Refuse operands of the host in an operation of the card, but for numbers and indices.

    Raises:
        RuntimeError: there are others.
    """
    name = func._schema.name
    if name == "aten::native_batch_norm_backward" and args[5] is None:  # which a CPU does without
        raise RuntimeError("save_mean should always be defined")
    indices = _tensors(args[1]) if name in _INDEXING and place_of(args[0]) == CARD else []
    host = [each for each in operands if place_of(each) == CPU and all(each is not index for index in indices)]
    takes_numbers = torch.Tag.pointwise in func.tags or name.startswith(_TAKE_NUMBERS)
    writes_to_host = func._schema.is_mutable and any(each is args[0] for each in host)
    if host and (writes_to_host or not takes_numbers or any(each.ndim for each in host)):
        raise RuntimeError(f"{TWO_DEVICES} (in {name})")


class _Functions(TorchFunctionMode):
    """What Python calls: devices are taken out of the arguments, and put on the results."""

    def __init__(self, card: FakeCard) -> None:
        super().__init__()
        self.card = card

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == Tensor.device.__get__:
            return place_of(args[0])
        if func == Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return place_of(args[0]) == CARD
        here = CARD if any(place_of(each) == CARD for each in _tensors((args, kwargs))) else CPU
        if func in _TO_NUMPY and here == CARD:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it first.")
        if func in _MOVES:
            return self._move(func, args, kwargs, here)
        asked = None if kwargs.get("device") is None else _device(kwargs["device"])
        place = asked or here
        for generator in _leaves((args, kwargs)):
            if isinstance(generator, torch.Generator) and generator.device != place:
                raise RuntimeError(
                    f"Expected a '{place.type}' device type for generator but found '{generator.device}'"
                )
        with self.card.at(place):
            result = func(*args, **(kwargs | {"device": CPU} if asked == CARD else kwargs))
        return _put(result, place) if asked is not None or func == Tensor.__deepcopy__ else result

    def _move(self, func: Any, args: Any, kwargs: Any, here: torch.device) -> Any:
        """A copy on the device that is asked for; what is there already stays what it is."""
        if func in (Tensor.cpu, Tensor.cuda):
            place = CPU if func is Tensor.cpu else CARD
            _check_recorded_move(here, place)
            return _moved(args[0], place)
        place = here
        for each in (*args[1:], *kwargs.values()):
            if isinstance(each, torch.device | str):
                place = _device(each)
            elif isinstance(each, Tensor):  # .to(other)
                place = place_of(each)
        _check_recorded_move(here, place)
        args, kwargs = tree_map_only((torch.device, str), lambda each: CPU, (args, kwargs))
        with self.card.at(here):
            return _moved(func(*args, **kwargs), place)


class CUDAGraph:
    """What torch runs while it is recorded, to be run again on the same memory."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.generator = _GeneratorState()

    def replay(self) -> None:
        self.generator.check()
        with torch.no_grad(), torch._C.DisableTorchFunction():  # devices were taken out of what was recorded
            for call in self.calls:
                call()


class _Recording(TorchDispatchMode):
    """Records, and refuses what a GPU cannot record: whatever the processor must wait for."""

    def __init__(self, card: FakeCard, graph: CUDAGraph) -> None:
        super().__init__()
        self.card = card
        self.graph = graph
        graph.generator = card.generator

    def __exit__(self, kind: Any, *details: Any) -> None:
        super().__exit__(kind, *details)
        self.card.generator.recording = kind is not None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        sides = {place_of(each) for each in _tensors((args, kwargs))}
        waits = torch.Tag.dynamic_output_shape in func.tags or torch.Tag.data_dependent_output in func.tags
        if func._schema.name == "aten::index":  # by numbers, the shape is known beforehand
            waits = any(index.dtype in (torch.bool, torch.uint8) for index in _tensors(args[1]))
        if CARD in sides and (waits or (func._schema.name == "aten::copy_" and CPU in sides)):
            raise RuntimeError(f"{RECORDING} (in {func._schema.name})")
        place = self.card.place
        result = func(*args, **kwargs)
        if CARD in sides or (not sides and place == CARD):
            _put(result, CARD)  # what one mode writes on a storage does not always reach the next

        def repeat() -> None:
            with self.card.at(place):
                again = func(*args, **kwargs)
            for old, new in zip(_tensors([result]), _tensors([again]), strict=True):
                if new.data_ptr() != old.data_ptr():  # else a view, or what was written in place
                    old.copy_(new.reshape(old.shape))  # backward passes drop dimensions of one

        self.graph.calls.append(repeat)
        return result


def _check_recorded_move(here: torch.device, place: torch.device) -> None:
    if here != place and any(isinstance(mode, _Recording) for mode in _get_current_dispatch_mode_stack()):
        raise RuntimeError(f"{RECORDING} (a copy from {here} to {place})")


class _GlobalGenerator:
    """That of the card, as far as recordings share it."""

    def __init__(self, card: FakeCard) -> None:
        self.card = card

    def clone_state(self) -> _GeneratorState:
        return _GeneratorState()

    def graphsafe_set_state(self, state: _GeneratorState) -> None:
        self.card.generator = state


class _Stream:
    """Of a card that does one thing after the other."""

    def wait_stream(self, stream: _Stream) -> None:
        pass


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> torch.autocast:
    return _AUTOCAST("cpu", *args, **kwargs)


_AUTOCAST, _IS_AUTOCAST, _AUTOCAST_DTYPE = torch.autocast, torch.is_autocast_enabled, torch.get_autocast_dtype
_PARSE_TO = torch._C._nn._parse_to
_RUN_BACKWARD = torch.autograd._engine_run_backward


def _parse_to(*args: Any, **kwargs: Any) -> Any:
    """What `Module.to` was asked for; of a tensor its place."""
    like = [(place_of(each), each.dtype) if isinstance(each, Tensor) else (each,) for each in args]
    return _PARSE_TO(*(part for each in like for part in each), **kwargs)


@contextmanager
def fake_card() -> Iterator[FakeCard]:
    """Have one GPU, `cuda`, inside."""
    card = FakeCard()
    functions = _Functions(card)

    def run_backward(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        # Called by functions in whose course the mode is off; the backward passes of our own are in Python.
        again = nullcontext() if functions in _get_current_function_mode_stack() else functions
        with again, card.at(place_of(outputs[0])):
            return _RUN_BACKWARD(outputs, *args, **kwargs)

    def set_rng_state(state: Tensor, *device: Any) -> None:
        if card.random_state is not None:
            card.random_state = state.clone()

    cuda = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "get_device_name": lambda *device: NAME,
        "is_bf16_supported": lambda including_emulation=True: True,
        "is_current_stream_capturing": lambda: False,  # asked by optimisers where torch was built for CUDA
        "get_rng_state": lambda *device: (
            torch.get_rng_state() if card.random_state is None else card.random_state.clone()
        ),
        "set_rng_state": set_rng_state,
        "default_generators": (_GlobalGenerator(card),),
        "Stream": _Stream,
        "current_stream": _Stream,
        "stream": lambda stream: nullcontext(),
        "CUDAGraph": CUDAGraph,
        "graph": lambda graph, capture_error_mode: _Recording(card, graph),
        "manual_seed_all": lambda seed: set_rng_state(torch.Generator().manual_seed(seed).get_state()),
    }
    with ExitStack() as stack:
        for name, function in cuda.items():
            stack.enter_context(patch.object(torch.cuda, name, function))
        for name, replacement in {
            "Generator": Generator,
            "autocast": _autocast,
            "is_autocast_enabled": lambda *device_type: _IS_AUTOCAST("cpu"),
            "get_autocast_dtype": lambda *device_type: _AUTOCAST_DTYPE("cpu"),
        }.items():
            stack.enter_context(patch.object(torch, name, replacement))
        stack.enter_context(patch.object(torch._C._nn, "_parse_to", _parse_to))
        stack.enter_context(patch.object(torch.autograd, "_engine_run_backward", run_backward))
        stack.enter_context(card)
        stack.enter_context(functions)
        yield card


# A file of tensors on the card says so, as those of a GPU do, and needs `map_location` to be read elsewhere.
torch.serialization.register_package(
    5, lambda storage: "cuda:0" if getattr(storage, "on_card", False) else None, lambda storage, location: None
)
