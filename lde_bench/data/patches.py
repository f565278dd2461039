"""The 8x8 patch protocol: cut, dequantise, centre, drop a pixel; and the eight symmetries of a patch.

Protocol of B. Uria, M.-A. Cote, K. Gregor, I. Murray, H. Larochelle, "Neural Autoregressive Distribution Estimation",
JMLR 17(205), 2016, section 7.3.2 (arXiv 1605.02226): monochrome 8x8 patches of integer brightness 0..255, uniform
noise on [0, 1) added to each pixel, divided by 256, the patch mean subtracted, the bottom-right pixel dropped. What is
left are 63 numbers in raster order, and log-densities are of those 63 numbers, with no correction.

Bytes do not depend on the machine: places and noise come from raw words of PCG64, noise is k / 2^24 with k an
integer, and the arithmetic up to the single rounding to float32 is done in integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lde_bench.data.pictures import BadPicture, opened, quiet_pillow
from lde_bench.errors import InputError

SIDE = 8
PIXELS = SIDE * SIDE
FEATURES = PIXELS - 1
NOISE_BITS = 24

#: Row and column, modulo 8, of a patch's top left corner in its photograph: where the blocks of a JPEG file lie in it.
Offset = tuple[int, int]

#: Brightness is a whole number below it, and divided by it.
GREY_LEVELS = 256

#: What the bytes depend on besides photographs, seed and sizes; part of every cache key and kept in every file.
PROTOCOL = (
    "monochrome (ITU-R BT.601 luma as Pillow rounds it) 8x8 patches, places uniform within a photograph, patch i from "
    "photograph i mod P; brightness + k/2^24 noise, / 256, patch mean subtracted, bottom-right pixel dropped, "
    "63 float32 in raster order; PCG64 words, 33 a patch; protocol 1"
)

#: Random words of a patch: one of 64 bits places it, and each further word is the noise of two pixels.
WORDS = 1 + PIXELS // 2

_PLACE_BITS = 40
_MOST_PLACES = 1 << (64 - _PLACE_BITS)  # of a photograph, so that each is chosen alike to within 2^-16
_BLOCK = 16384  # patches made at once: small enough to stay near the processor's cache, large enough for numpy


def decode_grey(data: bytes, name: str) -> np.ndarray:
    """The luma of an encoded photograph, uint8 [height, width]: (299 R + 587 G + 114 B) / 1000 in Pillow's integers.

    Raises `InputError` naming the photograph when it cannot be decoded to its end or holds no 8x8 patch.
    """
    remedy = "put back the original file"
    try:
        with quiet_pillow(), opened(data) as image:
            _check_size(*image.size, name, remedy)  # before memory is taken for the pixels
            return np.array(image.convert("L"))
    except BadPicture as error:
        raise InputError(f"{name}: the photograph {error}; {remedy}.") from error


def _check_size(width: int, height: int, name: str, remedy: str) -> None:
    told = f"{name}: the photograph is {width}x{height}"
    if height < SIDE or width < SIDE:
        raise InputError(f"{told}, too small to hold an {SIDE}x{SIDE} patch; {remedy}.")
    if (height - SIDE + 1) * (width - SIDE + 1) > _MOST_PLACES:
        raise InputError(f"{told}, larger than 16 million pixels; {remedy}.")


@dataclass(frozen=True)
class Photographs:
    """Grey photographs end to end in one array, so that patches of many photographs are cut in one step.

    `pixels` is uint8 [total]; `ids`, `heights` and `widths` are int64 [p].
    """

    ids: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    pixels: np.ndarray

    @classmethod
    def of(cls, images: Mapping[int, np.ndarray]) -> Photographs:
        """From photograph id to uint8 [height, width], in the order of the mapping."""
        shapes = np.array([image.shape for image in images.values()], dtype=np.int64).reshape(-1, 2)
        return cls(
            np.array(list(images), dtype=np.int64),
            shapes[:, 0],
            shapes[:, 1],
            np.concatenate([image.ravel() for image in images.values()]),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def patches(self, which: np.ndarray, words: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
        """Finished patches, float32 [n, 63], of photographs `which` (int [n]) from random `words` (uint64 [n, 33]).

        The top 40 bits of word 0 choose the place (uniform to within 2^-16), the others are the noise. `offsets`
        (int [n, 2]) are the row and the column, modulo 8, of the top left corner; None: of any.
        """
        steps = 1 if offsets is None else SIDE
        down, left = (0, 0) if offsets is None else offsets.T
        across = (self.widths[which] - SIDE - left) // steps + 1
        places = (((self.heights[which] - SIDE - down) // steps + 1) * across).astype(np.uint64)
        place = ((words[:, 0] >> np.uint64(64 - _PLACE_BITS)) * places >> np.uint64(_PLACE_BITS)).astype(np.int64)
        row, column = np.divmod(place, across)
        widths, sizes = self.widths[which], self.heights * self.widths
        starts = (np.cumsum(sizes) - sizes)[which]
        corner = starts + (down + steps * row) * widths + left + steps * column
        rows = corner[:, None] + widths[:, None] * np.arange(SIDE)
        cut = np.lib.stride_tricks.sliding_window_view(self.pixels, SIDE)[rows]
        halves = np.ascontiguousarray(words[:, 1:], dtype="<u8").view("<u4")
        return dequantise(cut.reshape(-1, PIXELS), halves >> np.uint32(32 - NOISE_BITS))


def dequantise(brightness: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """uint8 [n, 64] and uint32 [n, 64] below 2^24 to float32 [n, 63]: noise added, centred, last pixel dropped.

    With v = brightness * 2^24 + noise, the wanted (v - mean v) / 2^32 is (64 v - sum v) / 2^38: an exact integer,
    rounded once to float32, and scaled by a power of two.
    """
    value = (brightness.astype(np.uint32) << np.uint32(NOISE_BITS)) + noise
    total = value.sum(axis=1, dtype=np.int64, keepdims=True)
    centred = value[:, :FEATURES].astype(np.int64) * PIXELS - total
    return centred.astype(np.float32) * np.float32(2.0 ** -(NOISE_BITS + 8 + 6))


def cut_split(photographs: Photographs, count: int, seeds: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield a split of `count` patches block by block: float32 [b, 63] and photograph ids int64 [b].

    Patch i is the (i div P)-th patch of photograph i mod P, and each photograph has its own random stream (`seeds`, one
    each): so any prefix is spread evenly over the photographs, and a smaller split is a prefix of a larger.
    """
    streams = [np.random.PCG64(seed) for seed in seeds]
    rounds = max(1, _BLOCK // len(streams))
    order = np.tile(np.arange(len(streams)), rounds)
    for start in range(0, count, len(order)):
        words = np.empty((rounds, len(streams), WORDS), dtype=np.uint64)
        for column, stream in enumerate(streams):
            words[:, column] = stream.random_raw(rounds * WORDS).reshape(rounds, WORDS)
        which = order[: count - start]
        yield photographs.patches(which, words.reshape(-1, WORDS)[: len(which)]), photographs.ids[which]


@dataclass(frozen=True)
class FreshPatches:
    """Draws new training patches, with new noise, from the photographs of the training split."""

    photographs: Photographs

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """float32 [n, 63]; each patch from a photograph chosen uniformly, all randomness from `rng`."""
        return self._rows(n, lambda count: self._block(count, rng))

    def draw_at(self, offset: Offset, n: int, rng: np.random.Generator) -> np.ndarray:
        """As `draw`, of patches that one of the four flips brings to `offset`, under that flip.

        Where the patches do not lie at `offset` themselves they are those at its mirror images: the blocks of a JPEG
        file, which begin at the top left corner of a photograph, run through all of them in the same places. They are
        not transposed: the steps of a file are others in its rows than in its columns.

        Raises:
            InputError: a photograph is too small to hold a patch at every offset.
        """
        photographs = self.photographs
        if min(photographs.heights.min(), photographs.widths.min()) < 2 * SIDE - 1:
            raise InputError(
                f"a photograph has less than {2 * SIDE - 1} pixels a side, too few for patches anywhere on the grid of "
                "its blocks; give larger ones."
            )
        # A flip undoes itself.
        origins = np.array([turned(offset, flip) for flip in FLIPS])  # [4, 2]

        def block(count: int) -> np.ndarray:
            which = rng.integers(len(FLIPS), size=count)
            return apply_symmetries(self._block(count, rng, origins[which]), np.array(FLIPS)[which])

        return self._rows(n, block)

    def _rows(self, n: int, block: Callable[[int], np.ndarray]) -> np.ndarray:
        rows = np.empty((n, PIXELS - 1), dtype=np.float32)
        for start in range(0, n, _BLOCK):  # bounds the memory; the stream of random numbers is the same
            rows[start : start + _BLOCK] = block(min(_BLOCK, n - start))
        return rows

    def _block(self, n: int, rng: np.random.Generator, offsets: np.ndarray | None = None) -> np.ndarray:
        words = rng.integers(0, 1 << 64, size=(n, WORDS), dtype=np.uint64)
        low = words[:, 0] & np.uint64((1 << (64 - _PLACE_BITS)) - 1)  # bits that do not choose the place
        which = (low * np.uint64(len(self.photographs)) >> np.uint64(64 - _PLACE_BITS)).astype(np.int64)
        return self.photographs.patches(which, words, offsets)


def _symmetries() -> np.ndarray:
    grid = np.arange(PIXELS).reshape(SIDE, SIDE)
    turns = [np.rot90(grid, quarter) for quarter in range(4)]
    return np.stack([view.ravel() for turn in turns for view in (turn, turn[:, ::-1])])


#: int64 [8, 64]: `full[:, SYMMETRIES[s]]` is patch symmetry s (flips and quarter turns; 0 is the identity).
SYMMETRIES = _symmetries()


def _axes(symmetry: int) -> np.ndarray:
    """Which way through a patch its rows and its columns run under a symmetry: int64 [2, 2] of 0 and +-1."""
    corner, right, below = (np.array(divmod(int(SYMMETRIES[symmetry][at]), SIDE)) for at in (0, 1, SIDE))
    return np.stack([below - corner, right - corner])


def turned(offset: Offset, symmetry: int) -> Offset:
    """Where the grid of blocks lies in a patch under a symmetry, if in the patch itself it lies at `offset`."""
    row, column = _axes(symmetry) @ offset % SIDE
    return int(row), int(column)


#: Those symmetries that leave rows rows: none, left to right, upside down, and both.
FLIPS = tuple(index for index in range(len(SYMMETRIES)) if _axes(index)[0, 1] == 0)


def complete(x: np.ndarray) -> np.ndarray:
    """[n, 63] to [n, 64]: the dropped bottom-right pixel is minus the sum of the others."""
    full = np.empty((len(x), PIXELS), dtype=x.dtype)
    full[:, :FEATURES] = x
    full[:, FEATURES] = -x.sum(axis=1, dtype=np.float64)
    return full


def apply_symmetries(x: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Patch i of `x` [n, 63] under symmetry `which[i]` (0..7), [n, 63] of the same dtype."""
    return np.take_along_axis(complete(x), SYMMETRIES[which, :FEATURES], axis=1)
