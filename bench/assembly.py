"""What a kernel of Triton is compiled to for a GPU that is not here: registers and instructions.

It asks the assembler and the disassembler that Triton's wheel brings.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HALF = ("x", "y", "g", "plus", "grad", "passed", "for_x")  # arguments of kernels, in bfloat16
WHOLE = ("w", "bias", "part", "found", "weight", "total", "gate", "mean", "variance")  # in float32
BLACKWELL = 100  # from this version on another assembler is right


class Loop(NamedTuple):
    """A loop that has no other within."""

    instructions: int
    multiply_adds: int
    barriers: int

    def __str__(self) -> str:
        waits = f", {self.barriers} barriers" if self.barriers else ""
        return f"{self.instructions} for {self.multiply_adds}{waits}"


class Assembled(NamedTuple):
    """A kernel for a GPU."""

    registers: int  # of a thread
    spilled: int  # bytes that did not fit into them
    loop: Loop | None  # that with the most multiply-adds


def assembled(function: Any, constants: dict[str, int], sm: int) -> Assembled:
    """Compiles a kernel for bfloat16, as ptxas does for sm_80, sm_90 ...

    Raises:
        subprocess.CalledProcessError: ptxas does not take it.
    """
    import triton  # pyright: ignore[reportMissingImports]
    from triton.backends.compiler import GPUTarget  # pyright: ignore[reportMissingImports]
    from triton.compiler import ASTSource  # pyright: ignore[reportMissingImports]

    known_types = dict.fromkeys(HALF, "*bf16") | dict.fromkeys(WHOLE, "*fp32")
    pointers = known_types.keys()
    known_types |= dict.fromkeys(("eps", "momentum"), "fp32")
    types = {name: known_types.get(name, "i32") for name in function.arg_names}
    types |= dict.fromkeys(constants, "constexpr")
    places = {name: (place,) for place, name in enumerate(function.arg_names)}
    aligned = {places[name]: [["tt.divisibility", 16]] for name in types if name in pointers}
    known = {places[name]: value for name, value in constants.items()}
    source = ASTSource(function, types, known, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", sm, 32))
    tools = Path(str(triton.__file__)).parent / "backends/nvidia/bin"
    ptxas = tools / ("ptxas-blackwell" if sm >= BLACKWELL else "ptxas")
    with tempfile.TemporaryDirectory() as folder:
        text, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        text.write_text(made.asm["ptx"])
        target = f"--gpu-name=sm_{sm}{'a' if sm >= 90 else ''}"
        said = _run(ptxas, "-v", target, text, "-o", binary).stderr
        code = _run(tools / "nvdisasm", "-c", binary).stdout if sm < BLACKWELL else ""
    loops = sorted(_loops(code), key=lambda loop: loop.multiply_adds)
    return Assembled(
        _number("registers", said),
        _number("bytes spill stores", said),
        loops[-1] if loops else None,
    )


def _run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)


def _number(of: str, said: str) -> int:
    """The number that stands before some words."""
    found = re.search(rf"(\d+) {of}", said)
    assert found, said
    return int(found[1])


def _loops(code: str) -> Iterator[Loop]:
    """The loops without loops in them: what lies between a label and a jump back to it."""
    names: list[str] = []
    labels: dict[str, int] = {}
    last = -1
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(names)
        elif found := re.match(
            r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+\s+)?([A-Z][\w.]*)(.*);", line
        ):
            names.append(found[1].split(".")[0])
            to = re.search(r"\.L_x_\d+", found[2])
            start = labels.get(to[0], len(names)) if to and names[-1] == "BRA" else len(names)
            if last < start < len(names) - 1:  # the jump after the last one is an endless stop
                within = names[start:]
                yield Loop(len(within), within.count("FFMA"), within.count("BAR"))
                last = len(names) - 1
