"""Vectors of sixteen sums, and products of four bytes for each of them, for each machine.

| function | meaning |
|---|---|
| none(s), load(s, x), store(y, s), both(s, t) | 0; 16 integers; the same back; s += t |
| four(x) | four bytes that all sixteen sums are multiplied with |
| dot(s, x, w) | s[i] += w[4 i] x[0] + .. + w[4 i + 3] x[3] |
| finish(y, s, c, ...) | clamp((s * c[0..15] + c[16..31]) >> c[32..47]): `count` bytes |
| finish_wide | the same in 64 bits |
"""

from collections.abc import Collection

__all__ = ["prelude"]


def prelude(name: str, uses: Collection[str]) -> list[str]:
    """Lines of C with what is in `uses`.

    "pairs": the sum of two products never leaves 16 bits; "halves": bytes are 0..127; "finish",
    "finish_wide": these functions.
    """
    text = (
        _VNNI + (_PAIRS if "pairs" in uses else "") + (_NEON if "halves" in uses else "") + _PLAIN
    )
    text += (_FINISH if "finish" in uses else "") + (_FINISH_WIDE if "finish_wide" in uses else "")
    return text.replace("NAME", name.upper()).replace("name_", f"{name}_").splitlines()


_VNNI = """\
#ifdef __GNUC__
#define INLINE static inline __attribute__((always_inline, unused))
#else
#define INLINE static inline
#endif

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && !defined(NAME_PLAIN)
#include <immintrin.h>
typedef __m512i name_sums;
typedef __m512i name_quad;
INLINE void name_none(name_sums *s) { *s = _mm512_setzero_si512(); }
INLINE void name_load(name_sums *s, const int32_t *x) { *s = _mm512_loadu_si512(x); }
INLINE void name_store(int32_t *y, const name_sums *s) { _mm512_storeu_si512(y, *s); }
INLINE void name_both(name_sums *s, const name_sums *t) { *s = _mm512_add_epi32(*s, *t); }
INLINE void name_four(name_quad *q, const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    *q = _mm512_set1_epi32(four);
}
INLINE void name_dot(name_sums *s, const name_quad *q, const int8_t *w)
{
    *s = _mm512_dpbusd_epi32(*s, *q, _mm512_loadu_si512(w));
}
"""
_PAIRS = """\
#elif defined(__AVX2__) && !defined(NAME_PLAIN)
#include <immintrin.h>
typedef struct { __m256i a, b; } name_sums;
typedef __m256i name_quad;
#define HALF(x) _mm256_loadu_si256((const __m256i *)(const void *)(x))
INLINE void name_none(name_sums *s) { s->a = s->b = _mm256_setzero_si256(); }
INLINE void name_load(name_sums *s, const int32_t *x)
{
    s->a = HALF(x);
    s->b = HALF(x + 8);
}
INLINE void name_store(int32_t *y, const name_sums *s)
{
    _mm256_storeu_si256((__m256i *)(void *)y, s->a);
    _mm256_storeu_si256((__m256i *)(void *)(y + 8), s->b);
}
INLINE void name_both(name_sums *s, const name_sums *t)
{
    s->a = _mm256_add_epi32(s->a, t->a);
    s->b = _mm256_add_epi32(s->b, t->b);
}
INLINE void name_four(name_quad *q, const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    *q = _mm256_set1_epi32(four);
}
INLINE void name_dot(name_sums *s, const name_quad *q, const int8_t *w)
{
    const __m256i one = _mm256_set1_epi16(1);
    const name_sums t = {_mm256_madd_epi16(_mm256_maddubs_epi16(*q, HALF(w)), one),
                         _mm256_madd_epi16(_mm256_maddubs_epi16(*q, HALF(w + 32)), one)};
    name_both(s, &t);
}
"""
_NEON = """\
#elif defined(__ARM_FEATURE_DOTPROD) && !defined(NAME_PLAIN)
#include <arm_neon.h>
typedef struct { int32x4_t a, b, c, d; } name_sums;
typedef int8x16_t name_quad;
INLINE void name_none(name_sums *s) { s->a = s->b = s->c = s->d = vdupq_n_s32(0); }
INLINE void name_load(name_sums *s, const int32_t *x)
{
    s->a = vld1q_s32(x);
    s->b = vld1q_s32(x + 4);
    s->c = vld1q_s32(x + 8);
    s->d = vld1q_s32(x + 12);
}
INLINE void name_store(int32_t *y, const name_sums *s)
{
    vst1q_s32(y, s->a);
    vst1q_s32(y + 4, s->b);
    vst1q_s32(y + 8, s->c);
    vst1q_s32(y + 12, s->d);
}
INLINE void name_both(name_sums *s, const name_sums *t)
{
    s->a = vaddq_s32(s->a, t->a);
    s->b = vaddq_s32(s->b, t->b);
    s->c = vaddq_s32(s->c, t->c);
    s->d = vaddq_s32(s->d, t->d);
}
INLINE void name_four(name_quad *q, const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    *q = vreinterpretq_s8_s32(vdupq_n_s32(four));
}
INLINE void name_dot(name_sums *s, const name_quad *q, const int8_t *w)
{
    s->a = vdotq_s32(s->a, *q, vld1q_s8(w));
    s->b = vdotq_s32(s->b, *q, vld1q_s8(w + 16));
    s->c = vdotq_s32(s->c, *q, vld1q_s8(w + 32));
    s->d = vdotq_s32(s->d, *q, vld1q_s8(w + 48));
}
"""
_PLAIN = """\
#else
typedef struct { int32_t v[16]; } name_sums;
typedef struct { int16_t v[4]; } name_quad;
INLINE void name_none(name_sums *s) { memset(s, 0, sizeof *s); }
INLINE void name_load(name_sums *s, const int32_t *x) { memcpy(s, x, sizeof *s); }
INLINE void name_store(int32_t *y, const name_sums *s) { memcpy(y, s, sizeof *s); }
INLINE void name_both(name_sums *s, const name_sums *t)
{
    for (int i = 0; i < 16; i++) s->v[i] += t->v[i];
}
INLINE void name_four(name_quad *q, const uint8_t *x)
{
    for (int i = 0; i < 4; i++) q->v[i] = x[i];
}
INLINE void name_dot(name_sums *s, const name_quad *q, const int8_t *w)
{
    for (int i = 0; i < 16; i++) {
        const int32_t low = q->v[0] * w[4 * i] + q->v[1] * w[4 * i + 1];
        s->v[i] += low + q->v[2] * w[4 * i + 2] + q->v[3] * w[4 * i + 3];
    }
}
#endif

"""
_FINISH = """\
INLINE void name_finish(uint8_t *y, const name_sums *s, const int32_t *c, int count, int ones,
                        int even, int lo, int hi)
{
#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && !defined(NAME_PLAIN)
    const __m512i m = _mm512_loadu_si512(c), b = _mm512_loadu_si512(c + 16);
    const __m512i n = _mm512_loadu_si512(c + 32), one = _mm512_set1_epi32(1);
    __m512i v = _mm512_add_epi32(ones ? *s : _mm512_mullo_epi32(*s, m), b);
    if (even) {
        const __m512i unit = _mm512_sllv_epi32(one, n);
        const __m512i half = _mm512_sub_epi32(_mm512_srli_epi32(unit, 1), one);
        const __m512i odd = _mm512_and_si512(_mm512_srav_epi32(v, n), one);
        v = _mm512_add_epi32(v, _mm512_add_epi32(half, odd));
    }
    v = _mm512_srav_epi32(v, n);
    v = _mm512_min_epi32(_mm512_max_epi32(v, _mm512_set1_epi32(lo)), _mm512_set1_epi32(hi));
    _mm512_mask_cvtepi32_storeu_epi8(y, (__mmask16)((1 << count) - 1), v);
#else
    int32_t t[16];
    name_store(t, s);
    for (int i = 0; i < count; i++) {
        int32_t v = (ones ? t[i] : t[i] * c[i]) + c[16 + i];
        if (even) v += (1 << c[32 + i] >> 1) - 1 + ((v >> c[32 + i]) & 1);
        v >>= c[32 + i];
        y[i] = (uint8_t)(v < lo ? lo : v > hi ? hi : v);
    }
#endif
}
"""
_FINISH_WIDE = """\
INLINE void name_finish_wide(uint8_t *y, const name_sums *s, const int64_t *c, int count, int even,
                             int lo, int hi)
{
#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && !defined(NAME_PLAIN)
    const __m512i one = _mm512_set1_epi64(1);
    for (int k = 0; k < 2; k++) {
        const __m256i half_of = k ? _mm512_extracti64x4_epi64(*s, 1) : _mm512_castsi512_si256(*s);
        const __m512i m = _mm512_loadu_si512(c + 8 * k), b = _mm512_loadu_si512(c + 16 + 8 * k);
        const __m512i n = _mm512_loadu_si512(c + 32 + 8 * k);
        __m512i v = _mm512_add_epi64(_mm512_mul_epi32(_mm512_cvtepi32_epi64(half_of), m), b);
        if (even) {
            const __m512i unit = _mm512_sllv_epi64(one, n);
            const __m512i half = _mm512_sub_epi64(_mm512_srli_epi64(unit, 1), one);
            const __m512i odd = _mm512_and_si512(_mm512_srav_epi64(v, n), one);
            v = _mm512_add_epi64(v, _mm512_add_epi64(half, odd));
        }
        v = _mm512_srav_epi64(v, n);
        v = _mm512_min_epi64(_mm512_max_epi64(v, _mm512_set1_epi64(lo)), _mm512_set1_epi64(hi));
        _mm512_mask_cvtepi64_storeu_epi8(y + 8 * k, (__mmask8)(((1 << count) - 1) >> (8 * k)), v);
    }
#else
    int32_t t[16];
    name_store(t, s);
    for (int i = 0; i < count; i++) {
        int64_t v = t[i] * c[i] + c[16 + i];
        if (even) v += ((int64_t)1 << c[32 + i] >> 1) - 1 + ((v >> c[32 + i]) & 1);
        v >>= c[32 + i];
        y[i] = (uint8_t)(v < lo ? lo : v > hi ? hi : v);
    }
#endif
}
"""
