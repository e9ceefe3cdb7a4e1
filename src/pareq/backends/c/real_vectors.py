"""The float edge sixteen numbers at a time, with AVX-512: float32 to bytes, on grids of one step.

The steps are those of the plain loop behind it, which takes what is left.
"""

from pareq.backends.c.interface import Port
from pareq.backends.c.text import Text
from pareq.ir.graph import Input

__all__ = ["fits", "include", "vectors"]

_MODES = {
    "half_even": "_MM_FROUND_TO_NEAREST_INT",
    "half_up": "_MM_FROUND_TO_NEG_INF",
    "floor": "_MM_FROUND_TO_NEG_INF",
    "toward_zero": "_MM_FROUND_TO_ZERO",
}


def _condition(name: str) -> str:
    return f"#if defined(__AVX512BW__) && defined(__GNUC__) && !defined({name.upper()}_PLAIN)"


def include(name: str) -> list[str]:
    """Lines before the functions."""
    return [_condition(name), "#include <immintrin.h>", "#endif"]


def fits(port: Port) -> bool:
    """Whether an input is of bytes with one step for all."""
    return port.type.bits == 8 and isinstance(port.value.grid.scale, float)


def vectors(text: Text, name: str, given: Input, port: Port, factor: str) -> None:
    """Statements that convert the first `begin` numbers of x; factor: one over the step."""
    grid, rounding = port.value.grid, given.rounding
    low, high = (f"{float(n - grid.zero)!r}f" for n in (grid.lo, grid.hi))
    text.line("size_t begin = 0;")
    text.line(_condition(name))
    with text.block(f"for (; begin + 16 <= n * {port.size}; begin += 16)"):
        text.line("const __m512 given = _mm512_loadu_ps(x + begin);")
        text.line("const int nan = _mm512_cmp_ps_mask(given, given, _CMP_UNORD_Q);")
        text.line("if (nan) bad += __builtin_popcount((unsigned)nan);")
        text.line(f"__m512 v = _mm512_mul_ps(given, _mm512_set1_ps({factor}));")
        text.line(f"v = _mm512_max_ps(v, _mm512_set1_ps({low}));")
        text.line(f"v = _mm512_min_ps(v, _mm512_set1_ps({high}));")
        mode = f"{_MODES[rounding]} | _MM_FROUND_NO_EXC"
        if rounding == "half_up":
            text.line(f"const __m512 down = _mm512_roundscale_ps(v, {mode});")
            text.line("const __m512 rest = _mm512_sub_ps(v, down);")
            half = "_mm512_cmp_ps_mask(rest, _mm512_set1_ps(0.5f), _CMP_GE_OQ)"
            text.line(f"v = _mm512_mask_add_ps(down, {half}, down, _mm512_set1_ps(1.0f));")
        text.line(f"__m512i whole = _mm512_cvt_roundps_epi32(v, {mode});")
        if grid.zero:
            text.line(f"whole = _mm512_add_epi32(whole, _mm512_set1_epi32({grid.zero}));")
        text.line("const __m128i bytes = _mm512_cvtepi32_epi8(whole);")
        text.line("_mm_storeu_si128((__m128i *)(void *)(y + begin), bytes);")
    text.line("#endif")
