"""Pictures of every mode become upright RGB squares, or are named with what is wrong with them."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lde_bench.data.pictures import BadPicture, decode, opened, square

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    handle = io.BytesIO()
    image.save(handle, kind, **options)
    return handle.getvalue()


def jpeg(side: int = 40, **options: Any) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG", **options)


def rgb(data: bytes) -> np.ndarray:
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_colours_are_kept_as_they_are() -> None:
    np.testing.assert_array_equal(rgb(encoded(Image.fromarray(COLOURS))), COLOURS)
    found = square(encoded(Image.fromarray(COLOURS[:5])), 5, "stretch")
    np.testing.assert_array_equal(found, COLOURS[:5].transpose(2, 0, 1))
    assert found.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_that_the_camera_noted_is_applied(orientation: int) -> None:
    # As EXIF has it: where the stored row 0 and column 0 are seen.
    upright = {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.transpose(1, 0, 2),
        6: np.rot90(COLOURS, -1),
        7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOURS),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(rgb(encoded(Image.fromarray(COLOURS), exif=exif)), upright[orientation])


def test_grey_palette_and_one_bit_have_three_equal_channels() -> None:
    grey = COLOURS[..., 0]
    np.testing.assert_array_equal(rgb(encoded(Image.fromarray(grey))), np.repeat(grey[..., None], 3, 2))
    bits = Image.fromarray((grey > 127).astype(np.uint8) * 255).convert("1")
    np.testing.assert_array_equal(rgb(encoded(bits))[..., 1], np.where(grey > 127, 255, 0))
    palette = Image.fromarray(COLOURS).quantize(30)
    np.testing.assert_array_equal(rgb(encoded(palette)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_rounded_to_eight(kind: str) -> None:
    values = np.array([[0, 128, 129, 257, 32_768, 65_534, 65_535]], np.uint16)
    expected = np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(rgb(encoded(Image.fromarray(values), kind))[..., 0], expected)


def test_alpha_lies_on_white() -> None:
    alpha = np.array([[0, 51, 128, 255]], np.uint8)
    shade = np.array([[10, 20, 30, 40]], np.uint8)
    expected = np.round(shade * (alpha / 255) + 255 * (1 - alpha / 255))
    clear = np.stack([shade, shade, shade, alpha], -1)
    assert np.abs(rgb(encoded(Image.fromarray(clear)))[..., 2] - expected).max() <= 1
    grey = Image.merge("LA", [Image.fromarray(shade), Image.fromarray(alpha)])
    assert np.abs(rgb(encoded(grey))[..., 0] - expected).max() <= 1
    # One colour of a palette, or of a PNG without an alpha channel, is transparent.
    palette = Image.fromarray(shade).convert("P")
    found = rgb(encoded(palette, transparency=int(np.asarray(palette)[0, 1])))
    np.testing.assert_array_equal(found[0, :, 0], [10, 255, 30, 40])
    found = rgb(encoded(Image.fromarray(np.stack([shade] * 3, -1)), transparency=(30, 30, 30)))
    np.testing.assert_array_equal(found[0, :, 0], [10, 20, 255, 40])


def test_cmyk_becomes_rgb() -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 1:3] = 255  # magenta and yellow: red
    found = rgb(encoded(Image.fromarray(inks, "CMYK"), "TIFF"))
    np.testing.assert_array_equal(found[0, 0], [255, 0, 0])
    np.testing.assert_allclose(rgb(encoded(Image.fromarray(inks, "CMYK"), "JPEG"))[8, 8], [255, 0, 0], atol=12)


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        (Image.fromarray(np.full((4, 4), 70_000, np.int32)), "32-bit integers"),
        (Image.fromarray(np.full((4, 4), 0.5, np.float32)), "mode F"),
        (Image.new("LAB", (4, 4)), "mode LAB"),
    ],
)
def test_modes_without_a_fixed_scale_are_named(image: Image.Image, fault: str) -> None:
    with pytest.raises(BadPicture, match=f"{fault}.*convert it"):
        decode(encoded(image, "TIFF"))


def test_stretch_takes_all_of_a_picture_and_crop_its_middle() -> None:
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = 200
    data = encoded(Image.fromarray(wide))
    assert (square(data, 8, "crop") == 200).all()
    stretched = square(data, 8, "stretch")
    np.testing.assert_array_equal(stretched[0, 0] > 100, [0, 0, 1, 1, 1, 1, 0, 0])
    # The authors' resize: Pillow's bicubic of the whole picture.
    expected = Image.open(io.BytesIO(jpeg(50))).resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(square(jpeg(50), 8, "stretch"), np.asarray(expected).transpose(2, 0, 1))
    tall = encoded(Image.fromarray(wide.transpose(1, 0, 2)))
    np.testing.assert_array_equal(square(tall, 8, "stretch"), stretched.transpose(0, 2, 1))
    assert square(encoded(Image.new("RGB", (1, 1), "red")), 8, "crop").shape == (3, 8, 8)


@pytest.mark.parametrize("keep", [1, 30, 0.3, 0.9, -1, -2])
def test_a_truncated_jpeg_is_told_of(keep: float) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a thumbnail's end: \xff\xd9"  # an end marker in the header is not that of the picture
    data = jpeg(exif=exif)
    decode(data)
    decode(data + b"what a telephone adds behind its pictures" * 100)
    cut = data[: int(keep * len(data)) if isinstance(keep, float) else keep]
    with pytest.raises(BadPicture, match=r"truncated|no image"):
        decode(cut)


@pytest.mark.parametrize("fault", ["empty", "text", "cut", "flipped"])
def test_what_is_no_picture_is_told_of(fault: str) -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(2).integers(0, 256, (50, 50, 3), np.uint8)))
    data, told = {
        "empty": (b"", "is empty"),
        "text": (b"<html>404 not found</html>", "no image that Pillow can read"),
        "cut": (whole[:2000], "truncated or damaged"),
        "flipped": (whole[:3000] + bytes([whole[3000] ^ 255]) + whole[3001:], "truncated or damaged"),
    }[fault]
    with pytest.raises(BadPicture, match=told):
        decode(data)


@pytest.mark.parametrize("size", [(9_000, 9_000), (100_000, 100_000)])
def test_a_decompression_bomb_is_refused_before_it_goes_off(size: tuple[int, int]) -> None:
    header = struct.pack(">2I5B", *size, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            pytest.raises(BadPicture, match="more than 67,108,864 pixels"),
            opened(b"\x89PNG\r\n\x1a\n" + b"".join(parts)),
        ):
            pass


def test_postscript_is_not_read_since_pillow_hands_it_to_another_program() -> None:
    with pytest.raises(BadPicture, match="is no image that Pillow can read"):
        decode(encoded(Image.fromarray(COLOURS), "EPS"))
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA"):
        assert decode(encoded(Image.fromarray(COLOURS), kind)).size == (5, 6)
