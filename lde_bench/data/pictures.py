"""Picture files of any kind, decoded: the orientation that the camera noted, colour modes, size; or why not.

What comes out is RGB in 8 bits. Grey and palette files have three channels after it, 16 bits are rounded to 8, CMYK is
converted without its profile, transparent parts lie on white. Nothing is guessed of modes that have no fixed scale.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from lde_bench.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

#: How a picture becomes a square: squeezed as a whole, as the paper's authors did, or the largest square in its middle.
Fit = Literal["stretch", "crop"]
FITS: tuple[Fit, ...] = ("stretch", "crop")

#: What the bytes of a decoded picture depend on besides the file, the side and the fit; part of every cache key.
DECODING = "EXIF orientation, RGB over white, Pillow bicubic; decoding 1"

#: Larger ones are taken for decompression bombs, at fewer pixels than Pillow itself warns of.
MOST_PIXELS = 1 << 26

_GREY16 = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class BadPicture(Exception):
    """Why a file cannot be used as a picture, as the rest of a sentence that begins with its name."""


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Nothing that Pillow warns of: sizes are judged here, and what cannot be read is said. Not for single threads, as
    the filters of warnings are those of the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The picture in `data`, its pixels not yet decoded; whatever a decoder raises inside is a `BadPicture`, but for an
    `InputError`, which is the caller's own.

    Raises:
        BadPicture: the file is empty, truncated, damaged, no picture, or of more than `MOST_PIXELS`.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise BadPicture("is empty")
    if is_cut_jpeg(data):
        raise BadPicture("is a truncated JPEG")
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            if image.width * image.height > MOST_PIXELS:  # before memory is taken for them
                raise BadPicture(f"is {image.width}x{image.height}, more than {MOST_PIXELS:,} pixels")
            yield image
    except UnidentifiedImageError as error:
        raise BadPicture("is no image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise BadPicture(f"has far more than {MOST_PIXELS:,} pixels") from error
    except (BadPicture, InputError, MemoryError):  # that there is no memory now is no fault of the file
        raise
    except Exception as error:  # over damaged bytes a decoder may raise anything
        told = " ".join(str(error).split())[:100] or type(error).__name__
        raise BadPicture(f"is truncated or damaged ({told.rstrip('.')})") from error


@cache
def _formats() -> tuple[str, ...]:
    """What Pillow reads, but for PostScript, which it hands to another program."""
    from PIL import Image

    Image.init()
    return tuple(each for each in Image.ID if each != "EPS")


def is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG lacks its end marker, over which Pillow is silent where only that is cut off."""
    if data[:2] != b"\xff\xd8":
        return False
    # Thumbnails in the header have end markers of their own: go past the segments in front of the first scan. What
    # follows the picture, as behind those of telephones, does not matter.
    place = 2
    while data[place : place + 1] == b"\xff" and (marker := data[place + 1 : place + 2]) != b"\xda":
        place += 1 if marker == b"\xff" else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return b"\xff\xd9" not in data[place:]


def decode(data: bytes) -> Image.Image:
    """A picture file as an RGB image in 8 bits, upright.

    Raises:
        BadPicture: see `opened`; or its colour mode has no fixed scale.
    """
    from PIL import ImageOps

    with opened(data) as image:
        return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode in _GREY16:
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() >= 1 << 16:
            raise BadPicture("has 32-bit integers for pixels, which have no fixed white; convert it")
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("F", "LAB", "HSV"):
        raise BadPicture(f"has pixels of the mode {image.mode}, which is not read; convert it to RGB")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image.convert("RGB")


def square(data: bytes, side: int, fit: Fit) -> np.ndarray:
    """A picture file as a square, uint8 [3, side, side], by bicubic interpolation.

    `fit` is `stretch` for the whole picture, whatever its shape, or `crop` for the largest square in its middle.

    Raises:
        BadPicture: see `decode`.
    """
    from PIL import Image

    image = decode(data)
    if fit == "crop":
        shorter = min(image.size)
        left, top = ((length - shorter) // 2 for length in image.size)
        image = image.crop((left, top, left + shorter, top + shorter))
    small = image.resize((side, side), Image.Resampling.BICUBIC)  # [side, side, 3]
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))
