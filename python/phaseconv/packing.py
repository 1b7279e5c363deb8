"""Prepared convolutions, and what is derived from weights for them, kept while the weights live.

A weight is packed once for each problem that reads it. It is known again by its storage, the
address in it and its version counter, so that parameters, views of them and the aliases that
compiled graphs pass all find the same memory, and every change that PyTorch counts is seen. What
was packed from an alias counts as long as that alias is there, as it may have a counter of its own.
"""

import functools
import threading
import weakref
from pathlib import Path

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

ops = torch.ops.phaseconv

#: Of one weight, beside those that a CUDA graph reads: more means that shapes change all the time.
MOST_PER_WEIGHT = 8


@functools.cache
def _nvrtc_libraries() -> list[str]:
    """NVRTC as PyTorch's own wheels bring it, the newest first."""
    packages = Path(torch.__file__).parent.parent
    return sorted((str(p) for p in packages.glob("nvidia/*/lib/libnvrtc.so*")), reverse=True)


class Prepared:
    """A problem planned, compiled and loaded for one device. `prepare` makes them."""

    __slots__ = ("__weakref__", "handle", "packed_bytes")

    def __init__(self, problem: str, device: torch.device):
        on_cuda = device.type == "cuda"
        self.handle, self.packed_bytes = ops.prepare(
            problem, device.index if on_cuda else -1, _nvrtc_libraries() if on_cuda else []
        )
        # Not at the end of the process, where the driver may be gone before.
        weakref.finalize(self, ops.release, self.handle).atexit = False

    @property
    def plan(self) -> str:
        """Backend and plan, for example "cpu AVX3, cells:oc8"."""
        return ops.plan(self.handle)

    @property
    def predicted_seconds(self) -> float:
        return ops.predicted_seconds(self.handle)


_prepared: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
#: A CUDA graph launches their kernels, and nothing says when it is gone.
_captured: set[Prepared] = set()


def prepare(problem: str, device: torch.device) -> Prepared:
    """Raises RuntimeError with the library's reason where it can't."""
    key = (problem, device)
    found = _prepared.get(key)
    if found is None:
        found = _prepared.setdefault(key, Prepared(problem, device))
    return found


class Packing:
    """How a weight is packed for one prepared convolution. `packing` makes them."""

    __slots__ = ("__weakref__", "dtype", "prepared")

    def __init__(self, prepared: Prepared, dtype: torch.dtype):
        self.prepared = prepared
        self.dtype = dtype  # of the convolution: a weight may have another one

    def empty(self, device: torch.device) -> Tensor:
        return torch.empty(self.prepared.packed_bytes, dtype=torch.uint8, device=device)

    def fill(self, memory: Tensor, weight: Tensor) -> None:
        ops.pack(self.prepared.handle, weight.detach().to(self.dtype).contiguous(), memory)


class Gathering:
    """How a bias comes into another type, or into one piece. `gathering` makes them."""

    __slots__ = ("__weakref__", "dtype", "prepared", "size")

    def __init__(self, size: int, dtype: torch.dtype):
        self.prepared = None
        self.size = size
        self.dtype = dtype

    def empty(self, device: torch.device) -> Tensor:
        return torch.empty(self.size, dtype=self.dtype, device=device)

    def fill(self, memory: Tensor, bias: Tensor) -> None:
        memory.copy_(bias.detach())


# A recipe is known by its identity, which is what a lookup on every call can afford. So there is
# one of each, and tensors that start at the same address but are read differently have their own.
_recipes: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


def packing(prepared: Prepared, dtype: torch.dtype, weight: Tensor) -> Packing:
    key = (prepared, dtype, weight.dtype, weight.stride())
    return _recipes.setdefault(key, Packing(prepared, dtype))


def gathering(dtype: torch.dtype, bias: Tensor) -> Gathering:
    key = (bias.numel(), dtype, bias.dtype, bias.stride())
    return _recipes.setdefault(key, Gathering(bias.numel(), dtype))


def _counting(source: Tensor) -> Tensor:
    """The tensor that counts this one's changes: of a view, its base."""
    return source._base if source._is_view() else source


class _Derived:
    """Memory that was filled from one version of a tensor."""

    __slots__ = ("captured", "event", "memory", "origin", "recipe", "stream", "version")

    def __init__(self, recipe, memory: Tensor):
        self.recipe = recipe
        self.memory = memory
        self.version = None
        self.origin = None  # a weak reference to the tensor that counted this version
        self.captured = False  # a CUDA graph reads this memory
        self.stream = None  # CUDA: where it was filled, and when that is done
        self.event = None

    def fill(self, source: Tensor, version: int) -> None:
        if self.version is not None and not self.captured:
            # Others may still be reading the old one. A graph wants the new one in the same place.
            self.memory = _empty(self.recipe, source.device)
        self.recipe.fill(self.memory, source)
        if source.is_cuda:
            self.stream = torch.cuda.current_stream(source.device)
            self.event = self.stream.record_event()
        self.origin = weakref.ref(_counting(source))
        self.version = version  # last: other threads read it without the lock

    def holds(self, source: Tensor) -> bool:
        """Whether it was filled from what the source holds now.

        A new alias (`.data`) begins at version 0, whatever happened before: so the tensor that it
        was filled from must not have changed either.
        """
        if self.version != source._version:
            return False
        origin = self.origin()
        return origin is not None and origin._version == self.version

    def use_on_current_stream(self) -> None:
        """Orders the current stream behind the filling, and the freeing behind the use."""
        device = self.memory.device
        if torch.cuda.is_current_stream_capturing():
            # Whatever runs before a capture is done by then: torch.cuda.graph waits for it.
            self.captured = True
            if self.recipe.prepared is not None:
                _captured.add(self.recipe.prepared)
        elif torch._C._cuda_getCurrentRawStream(device.index) != self.stream.cuda_stream:
            stream = torch.cuda.current_stream(device)
            stream.wait_event(self.event)  # to ask whether it is over would spoil others' captures
            self.memory.record_stream(stream)


class _Source:
    """Everything derived from tensors of one storage."""

    __slots__ = ("derived", "reference", "watchers")

    def __init__(self, source: Tensor):
        # Pins the address of the storage, not its data: no other storage can be taken for it.
        self.reference = StorageWeakRef(source.untyped_storage())
        self.derived: dict = {}
        self.watchers: dict[int, weakref.finalize] = {}

    def watch(self, tensor: Tensor) -> None:
        """With the last tensor of this storage, what is derived goes away too."""
        watcher = self.watchers.get(id(tensor))
        if watcher is None or not watcher.alive:
            self.watchers = {key: one for key, one in self.watchers.items() if one.alive}
            address = tensor.untyped_storage()._cdata
            watcher = self.watchers[id(tensor)] = weakref.finalize(tensor, _forget, address)
            watcher.atexit = False

    def make_room(self, weight: int) -> None:
        """Of the weight at this address: storages may hold many."""
        spare = [
            key for key, entry in self.derived.items() if key[0] == weight and not entry.captured
        ]
        for key in spare[: max(0, len(spare) - MOST_PER_WEIGHT + 1)]:
            del self.derived[key]


_sources: dict[int, _Source] = {}
_lock = threading.RLock()  # taken again where a weight dies while another one is packed


def _forget(address: int) -> None:
    """A tensor of this storage is going away: with the last one, so does what is derived.

    This runs wherever the garbage collector does, also in a thread that a holder of the lock waits
    for. So it does not wait: what it misses, the next packing finds.
    """
    if not _lock.acquire(blocking=False):
        return
    try:
        source = _sources.get(address)
        # Its own reference and that of the storage's Python object are still counted.
        if source is not None and torch._C._storage_Use_Count(address) <= 2:
            _sources.pop(address, None)
    finally:
        _lock.release()


def _empty(recipe, device: torch.device) -> Tensor:
    """Memory outside every pool that this thread's allocations are directed to.

    While a CUDA graph is warmed up they go to the graph's own pool, and nothing may stay there.
    """
    if device.type != "cuda":
        return recipe.empty(device)
    stream = torch.cuda.current_stream(device)

    result = []

    def make() -> None:
        try:
            with torch.cuda.stream(stream):
                result.append(recipe.empty(device))
        except BaseException as error:  # raised where it is waited for
            result.append(error)

    # Not an executor's: those take no work once the main thread has ended.
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def _derive(source: Tensor, recipe) -> Tensor:
    capturing = source.is_cuda and torch.cuda.is_current_stream_capturing()
    if capturing or source.is_inference():
        # What is allocated during a capture belongs to the graph, which fills it at every replay.
        # An inference tensor counts no versions: its changes can't be seen.
        memory = recipe.empty(source.device)
        recipe.fill(memory, source)
        if capturing and recipe.prepared is not None:
            _captured.add(recipe.prepared)
        return memory
    with _lock:
        for address, other in _sources.copy().items():  # `_forget` may run meanwhile
            if other.reference.expired():
                _sources.pop(address, None)
        address = source.untyped_storage()._cdata
        known = _sources.get(address)
        if known is None:
            known = _sources[address] = _Source(source)
        key = (source.data_ptr(), recipe)
        entry = known.derived.get(key)
        if entry is None:
            known.make_room(source.data_ptr())
            entry = _Derived(recipe, _empty(recipe, source.device))
        if not entry.holds(source):
            entry.fill(source, source._version)
            known.watch(_counting(source))
        elif entry.stream is not None:  # another thread was faster, maybe on another stream
            entry.use_on_current_stream()
        known.derived[key] = entry
        return entry.memory


def derived(source: Tensor, recipe) -> Tensor:
    """What `recipe` makes of a weight or bias: from the last time, unless it changed since."""
    known = _sources.get(source.untyped_storage()._cdata)
    if known is not None and not source.is_inference():
        entry = known.derived.get((source.data_ptr(), recipe))
        if entry is not None and entry.holds(source):
            if entry.stream is not None:
                entry.use_on_current_stream()
            return entry.memory
    return _derive(source, recipe)
