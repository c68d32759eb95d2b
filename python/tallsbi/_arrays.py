"""Arrays of any kind as the extension module takes them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def plain(values: Any, what: str) -> Array:
    """`values` as an array of numbers of any shape; torch tensors, with gradients or on other devices, too."""
    if hasattr(values, "detach"):  # a torch tensor, perhaps with a gradient
        values = values.detach().cpu()
    try:
        return np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: expected numbers in a rectangular array ({error})") from None


def matrix(values: Any, what: str) -> Array:
    """`values` as rows (n, d); one row of numbers is (1, d)."""
    array = np.atleast_1d(plain(values, what))
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2:
        raise ValueError(f"{what}: expected (n, d), found {array.shape}")
    return array


def rows(values: Any, what: str, columns: int | None = None) -> Array:
    """`values` as rows (n, d); a list of numbers is one column (n, 1), or one row if `columns` is their number.

    Where `columns` are several and the list has another number of values, it is refused: nobody can tell what it is."""
    array = np.atleast_1d(plain(values, what))
    if array.ndim == 1 and columns is not None and columns > 1 and len(array) != columns:
        raise ValueError(f"{what}: found one dimension, of {len(array)} values, and a row has {columns}; give an array of the shape (n, {columns})")
    if array.ndim == 1:
        array = array[None, :] if columns is not None and columns == len(array) > 1 else array[:, None]
    if array.ndim != 2:
        raise ValueError(f"{what}: expected (n, d), found {array.shape}")
    return np.ascontiguousarray(array)


def cube(values: Any, what: str) -> Array:
    """`values` as (N, K, d); (N, d) is one observation each."""
    array = np.atleast_1d(plain(values, what))
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim == 2:
        array = array[:, None, :]
    if array.ndim != 3:
        raise ValueError(f"{what}: expected (N, d) or (N, K, d), found {array.shape}")
    return np.ascontiguousarray(array)


def text(options: dict[str, Any]) -> str:
    """Options as JSON, NumPy's numbers and arrays too."""
    return json.dumps(options, default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value))


def checked_seed(seed: int) -> int:
    """`seed` if it is one."""
    if not 0 <= int(seed) < 2**64:
        raise ValueError(f"seed: must be a whole number from 0 to 2**64 - 1, got {seed}")
    return int(seed)
