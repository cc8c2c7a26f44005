"""Triton's depthwise kernels are right where an interpreter runs them, and a compiler takes them.

No GPU is needed: they are compiled for GPUs that are not here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.triton import alone

from autox3d.vision.kernels.depthwise import TRITON


def bench(*arguments: str, interpreted: bool) -> list[list[str]]:
    """The rows of bench.depthwise's tables, from a process that alone has Triton."""
    return list(rows(alone("-m", "bench.depthwise", *arguments, interpreted=interpreted)))


def rows(lines: list[str]) -> Iterator[list[str]]:
    """The cells of the rows of Markdown tables, without their heads."""
    lines = [line for line in lines if line.startswith("| t")]
    return ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)


def errors(table: list[list[str]]) -> dict[tuple[str, ...], list[float]]:
    """Triton's errors of result, input's and weight's gradient, by kernel, stride and type."""
    return {
        (kernel, stride, kind): [float(cell) for cell in cells]
        for kernel, stride, kind, by, *cells in table
        if by == TRITON
    }


@pytest.mark.slow
def test_two_kernels_are_right_in_the_interpreter():
    """Against float64: result and both gradients, at both strides, to rounding in float32."""
    found = errors(bench("--kernels", "t3_s3", "t5_s5", "--types", "float32", interpreted=True))

    assert len(found) == 2 * 2
    assert all(error < 1e-5 for some in found.values() for error in some), found


@pytest.mark.long
@pytest.mark.parametrize("size", ["1 3 3 3 4", "2 10 6 5 9", "1 70 2 7 8", "2 4 1 3 10"])
def test_all_kernels_are_right_in_the_interpreter(size):
    """The six of the space and the stem's, where tiles are not full, in both types."""
    kernels = "t1_s3", "t1_s5", "t3_s3", "t3_s5", "t5_s3", "t5_s5", "t5_s1"
    found = errors(
        bench("--size", *size.split(), "--kernels", *kernels, interpreted=True),
    )

    assert len(found) == 7 * 2 * 2
    for (_, _, kind), some in found.items():
        assert max(some) < (1e-5 if kind == "float32" else 1e-2), found


@pytest.mark.slow
def test_a_compiler_takes_the_kernels_for_a_gpu_that_is_not_here():
    """What the interpreter allows the compiler may refuse; and all sums stay in registers."""
    table = bench("--kernels", "t3_s3", "--strides", "2", "--compile", "90", interpreted=False)

    assert [row[3] for row in table] == ["forward", "input", "weight"]
    assert all(int(row[4]) < 255 and int(row[5]) == 0 for row in table), table


@pytest.mark.long
def test_a_compiler_takes_all_kernels_for_several_gpus():
    """A100, RTX 4090 and H100: no kernel spills a register."""
    table = bench("--compile", "80", "89", "90", interpreted=False)

    assert len(table) == 6 * 3 * (2 + 3)
    assert all(int(row[5]) == 0 for row in table), table
