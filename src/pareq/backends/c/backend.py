"""The C back end: one .c and one .h file, and a shared library of them for this machine."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pareq.backends.base import Artefact, Program
from pareq.backends.c.binding import Library, processors
from pareq.backends.c.compiler import FLAGS, compile_c, find
from pareq.backends.c.source import sources
from pareq.ir.graph import Graph

__all__ = ["C"]


@dataclass(frozen=True)
class C:
    """NAME.c and NAME.h without dependencies, and libNAME.so for `Artefact.run`.

    compiler: a command; default $CC, else the first of cc, gcc and clang. flags: for the shared
    library. threads: for large batches in Python; 0: one a processor.
    """

    name: ClassVar[str] = "c"
    compiler: str = ""
    flags: tuple[str, ...] = FLAGS
    threads: int = 0

    def write(self, graph: Graph, folder: Path, name: str) -> dict[str, float]:
        """Write and compile. Raises BackendError without a compiler."""
        compiler = find(self.compiler)
        header, program = sources(graph, name)
        (folder / f"{name}.h").write_text(header)
        (folder / f"{name}.c").write_text(program)
        begin = time.perf_counter()
        files = (folder / f"lib{name}.so", folder / f"{name}.c")
        extra = (f"-D{name.upper()}_REAL", "-ffp-contract=off", "-shared", "-fPIC")
        compile_c(compiler, [*self.flags, *extra, "-o", *files])
        return {"seconds_to_compile": round(time.perf_counter() - begin, 3)}

    def load(self, artefact: Artefact) -> Program:
        """Open the shared library."""
        path = artefact.folder / f"lib{artefact.name}.so"
        return Library(artefact.graph, path, artefact.name, self.threads or processors())
