"""An ICC profile from a few numbers: primaries, a white point and a curve, as a PNG gives them. Called by
`pictures.png_colour`.

Owns the bytes of such a profile (ICC.1:2022, three-component matrix-based), so that `pictures.colour` has one way for all.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])
"""ICC.1:2022, the white of the space that profiles connect in."""
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""IEC 61966-2-1: (a x + b) ** g where x >= d, else c x; as g, a, b, c, d."""
_ACCURACY = 65536


@dataclass(frozen=True, slots=True)
class Primaries:
    """x and y (CIE 1931) of white, red, green and blue."""

    white: tuple[float, float]
    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]


BT709 = Primaries((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
"""sRGB's as well."""
BT2020 = Primaries((0.3127, 0.3290), (0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
DISPLAY_P3 = Primaries((0.3127, 0.3290), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))


def matrix_profile(primaries: Primaries, curve: tuple[float, ...]) -> bytes:
    """The profile of RGB with these primaries. `curve`: (g,) for x ** g, or five parameters as `SRGB_CURVE`.

    Raises `ValueError` for primaries that span no colours.
    """
    columns = _adapted(primaries)
    shape = b"para" + bytes(4) + struct.pack(">HH", 0 if len(curve) == 1 else 3, 0) + b"".join(map(_fixed, curve))
    contents = {
        b"desc": b"mluc" + bytes(4) + struct.pack(">II", 0, 12), b"cprt": b"mluc" + bytes(4) + struct.pack(">II", 0, 12),
        b"wtpt": _xyz(_D50), b"rXYZ": _xyz(columns[:, 0]), b"gXYZ": _xyz(columns[:, 1]), b"bXYZ": _xyz(columns[:, 2]),
        b"rTRC": shape, b"gTRC": shape, b"bTRC": shape,
    }  # fmt: skip
    start = 128 + 4 + 12 * len(contents)
    table, body = struct.pack(">I", len(contents)), b""
    for tag, content in contents.items():
        table += struct.pack(">4sII", tag, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4s4sI4s4sQI12s", start + len(body), b"", 0x04300000, b"mntr", b"RGB ", b"XYZ ", bytes(12), b"acsp",
        b"", 0, b"", b"", 0, 0, b"".join(map(_fixed, _D50)),
    )  # fmt: skip
    return head.ljust(128, b"\0") + table + body


def _adapted(primaries: Primaries) -> npt.NDArray[np.float64]:
    """XYZ of red, green and blue in columns, that make white together, as seen under D50."""
    white = _from_xy(primaries.white)
    colours = np.stack([_from_xy(one) for one in (primaries.red, primaries.green, primaries.blue)], axis=1)
    try:
        scaled = colours * np.linalg.solve(colours, white)
    except np.linalg.LinAlgError as error:
        raise ValueError("the primaries lie on one line") from error
    cones = np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white))
    adapted = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ scaled
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 4:
        raise ValueError("the primaries are no colours")
    return np.asarray(adapted, np.float64)


def _from_xy(xy: tuple[float, float]) -> npt.NDArray[np.float64]:
    x, y = xy
    if y <= 0:
        raise ValueError("a colour without light")
    return np.array([x / y, 1, (1 - x - y) / y])


def _xyz(values: npt.NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


def _fixed(value: float) -> bytes:
    """s15Fixed16Number."""
    return struct.pack(">i", round(value * _ACCURACY))
