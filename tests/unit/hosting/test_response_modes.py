"""Few modes stand for the series of many customers."""

from __future__ import annotations

import numpy as np
import pytest

from gridsite.hosting.response import _MODE_ERROR, _modes


@pytest.mark.parametrize("shape", [(200, 30), (30, 200), (60, 60), (40, 1)])
def test_modes_are_orthonormal_and_make_up_the_series(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)

    def drawn(rows: int, columns: int) -> np.ndarray:
        real, imag = rng.normal(size=(2, rows, columns))
        return real + 1j * imag

    n, steps = shape
    few = drawn(n, 3) @ drawn(3, steps) + 1e-2 * _MODE_ERROR * drawn(n, steps)
    mix, series = _modes(few)
    assert mix.shape[1] <= 3
    off = np.conj(mix.T) @ mix - np.eye(mix.shape[1])
    assert np.abs(off).max() < 1e-9
    left_out = np.linalg.norm(mix @ series - few) / np.linalg.norm(few)
    assert left_out <= _MODE_ERROR


def test_nothing_has_no_modes() -> None:
    mix, series = _modes(np.zeros((20, 5), dtype=complex))
    assert (mix.shape, series.shape) == ((20, 0), (0, 5))
