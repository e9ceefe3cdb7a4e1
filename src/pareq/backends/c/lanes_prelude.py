"""The vector operations of straight-line code: types and macros, for each machine.

| macro | meaning |
|---|---|
| SUM(s, k, b) | a new sum s = b in every lane; word k of the table holds b too |
| QUAD(q) | fetch four inputs of every lane |
| DOT(s, q, k, a, b, c, d) | s += a x0 + b x1 + c x2 + d x3; word k of the table holds a..d |
| VNNI(x), GNU(x) | x, where it is meant |
| PLAIN, EVEN, SCALED | four sums to the bytes of one quad: `narrow.Narrow` |
| UPPER, UPPERS, RATIOS | the same: `ratio.Ratio` without factors, in the upper byte, any |
| BELOW(s, how, k, cut, m, b) | s_rest = (s m + b) >> cut |
| WIDE(s, how, even, k, rest, shift, m, b, lo, top) | s = ((s m + b + rest) >> shift) - lo: `wide` |
| BYTES | four such results to the bytes of one quad |
| KEEP(s, i) | sum s is result i |
| BYTE(y, i, lane) | result i of a lane where results are bytes |
"""

from pareq.backends.c.chain import Chain

__all__ = ["prelude"]


def prelude(name: str, chain: Chain, enter: int) -> list[str]:
    """Lines of C that open the condition under which lanes exist.

    enter: by how many bits inputs are shifted up with AVX-512.
    """
    kind = "int16_t" if chain.words else "int32_t"
    word = "(v)" if chain.words else "CLIP(v, -32768, 32767)"
    text = _VNNI + _GNU.replace("@KIND", kind).replace("@WORD", word) + _END
    text = text.replace("@LOW", str(chain.low)).replace("@ENTER", str(enter))
    return text.replace("NAME", name.upper()).replace("name_", f"{name}_").splitlines()


_VNNI = """\
#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && !defined(NAME_PLAIN)
#include <immintrin.h>
#define NAME_WORDS
#define NAME_LANES 48 /* samples at once: three vectors of sixteen */
typedef struct { __m512i v0, v1, v2; } name_quads; /* four bytes in each lane */
typedef int32_t name_sum;
#define LAYER(k) const int32_t *w = name_words##k;
#define VNNI(x) x
#define GNU(x)
/* A group fetches its operands anew: else compilers keep too much in registers, and spill it. */
#define GROUP __asm__ volatile("" : "+r"(w), "+r"(x) : : "memory");
#define SUM(s, k, b) __m512i s##0 = _mm512_set1_epi32(w[k]), s##1 = s##0, s##2 = s##0;
#define QUAD(q) const __m512i x##q##_0 = x[q].v0, x##q##_1 = x[q].v1, x##q##_2 = x[q].v2;
#define DOT(s, q, k, a, b, c, d) \\
    { \\
        const __m512i four = _mm512_set1_epi32(w[k]); \\
        s##0 = _mm512_dpbusd_epi32(s##0, x##q##_0, four); \\
        s##1 = _mm512_dpbusd_epi32(s##1, x##q##_1, four); \\
        s##2 = _mm512_dpbusd_epi32(s##2, x##q##_2, four); \\
    }
#define TURN \\
    _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15))
/* top: the largest byte; or, below 0, how many low bits are cleared instead. */
#define CAP(y, top) \\
    if (top < 0) y = _mm512_and_si512(y, _mm512_set1_epi8((char)(256 - (1 << (-(top) & 7))))); \\
    else if (top < 255) y = _mm512_min_epu8(y, _mm512_set1_epi8((char)(top)));
#define FOUR(y, u, v, top) \\
    y = _mm512_shuffle_epi8(_mm512_packus_epi16(u, v), TURN); \\
    CAP(y, top)
#define EACH(do, i, p, q, r, s, shift, top) \\
    do(y[i].v0, p##0, q##0, r##0, s##0, shift, top) \\
    do(y[i].v1, p##1, q##1, r##1, s##1, shift, top) \\
    do(y[i].v2, p##2, q##2, r##2, s##2, shift, top)
#define PLAIN1(y, p, q, r, s, shift, top) \\
    FOUR(y, _mm512_srai_epi16(_mm512_packs_epi32(p, q), shift), \\
         _mm512_srai_epi16(_mm512_packs_epi32(r, s), shift), top)
#define PLAIN(i, p, q, r, s, shift, top) EACH(PLAIN1, i, p, q, r, s, shift, top)
#define ODD(v, shift) _mm512_and_si512(_mm512_srli_epi16(v, shift), _mm512_set1_epi16(1))
#define HALF(shift) _mm512_set1_epi16((1 << shift >> 1) - 1)
#define EVEN2(v, shift) \\
    _mm512_srai_epi16( \\
        _mm512_adds_epi16(v, _mm512_add_epi16(HALF(shift), ODD(v, shift))), shift)
#define EVEN1(y, p, q, r, s, shift, top) \\
    { \\
        const __m512i u = _mm512_packs_epi32(p, q), v = _mm512_packs_epi32(r, s); \\
        FOUR(y, EVEN2(u, shift), EVEN2(v, shift), top) \\
    }
#define EVEN(i, p, q, r, s, shift, top) EACH(EVEN1, i, p, q, r, s, shift, top)
#define FACTOR(k) _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)(k)))
#define SCALED1(y, p, q, r, s, shift, top) \\
    FOUR(y, _mm512_srai_epi16(_mm512_mulhi_epi16(_mm512_packs_epi32(p, q), low), shift), \\
         _mm512_srai_epi16(_mm512_mulhi_epi16(_mm512_packs_epi32(r, s), high), shift), top)
#define SCALED(i, p, q, r, s, shift, top, k, a, b, c, d) \\
    { \\
        const __m512i low = FACTOR(w + k), high = FACTOR(w + k + 4); \\
        EACH(SCALED1, i, p, q, r, s, shift, top) \\
    }
/* The upper bytes of words: those of p and q in the lower half of each lane. */
#define LEFT \\
    _mm512_broadcast_i32x4(_mm_setr_epi8(1, 9, 0, 0, 3, 11, 0, 0, 5, 13, 0, 0, 7, 15, 0, 0))
#define RIGHT \\
    _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 1, 9, 0, 0, 3, 11, 0, 0, 5, 13, 0, 0, 7, 15))
#define BOTH(y, u, v, top) \\
    y = _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(u, LEFT), 0xccccccccccccccccu, v, RIGHT); \\
    CAP(y, top)
#define UPPER1(y, p, q, r, s, shift, top) \\
    BOTH(y, _mm512_packus_epi32(p, q), _mm512_packus_epi32(r, s), top)
#define UPPER(i, p, q, r, s, top) EACH(UPPER1, i, p, q, r, s, 0, top)
#define UPPERS1(y, p, q, r, s, shift, top) \\
    BOTH(y, _mm512_mulhi_epu16(_mm512_packus_epi32(p, q), low), \\
         _mm512_mulhi_epu16(_mm512_packus_epi32(r, s), high), top)
#define UPPERS(i, p, q, r, s, k, top) \\
    { \\
        const __m512i low = FACTOR(w + k), high = FACTOR(w + k + 4); \\
        EACH(UPPERS1, i, p, q, r, s, 0, top) \\
    }
#define RATIOS1(y, p, q, r, s, shift, top) \\
    FOUR(y, _mm512_srlv_epi16(_mm512_mulhi_epu16(_mm512_packus_epi32(p, q), low), less), \\
         _mm512_srlv_epi16(_mm512_mulhi_epu16(_mm512_packus_epi32(r, s), high), more), top)
#define RATIOS(i, p, q, r, s, k, top) \\
    { \\
        const __m512i low = FACTOR(w + k), high = FACTOR(w + k + 4); \\
        const __m512i less = FACTOR(w + k + 8), more = FACTOR(w + k + 12); \\
        EACH(RATIOS1, i, p, q, r, s, 0, top) \\
    }
/* Products of a factor below 2^15, below 2^16 and of any factor; the first two for 16-bit sums. */
#define TIMES1(s, k) _mm512_dpwssd_epi32(_mm512_set1_epi32(w[k]), s, _mm512_set1_epi32(w[k + 1]))
#define TIMES2(s, k) _mm512_dpwssd_epi32(TIMES1(s, k), s, _mm512_set1_epi32(w[k + 2]))
#define TIMES3(s, k) \\
    _mm512_add_epi32(_mm512_set1_epi32(w[k]), _mm512_mullo_epi32(s, _mm512_set1_epi32(w[k + 1])))
#define ROUND0(v, shift) _mm512_srai_epi32(v, shift)
#define ODD32(v, shift) _mm512_and_si512(_mm512_srli_epi32(v, shift), _mm512_set1_epi32(1))
#define HALF32(shift) _mm512_set1_epi32((1 << shift >> 1) - 1)
#define ROUND1(v, shift) \\
    _mm512_srai_epi32( \\
        _mm512_add_epi32(_mm512_add_epi32(v, HALF32(shift)), ODD32(v, shift)), shift)
#define BELOW1(s, how, k, cut) const __m512i s##_rest = _mm512_srai_epi32(TIMES##how(s, k), cut);
#define BELOW(s, how, k, cut, m, b) \\
    BELOW1(s##0, how, k, cut) BELOW1(s##1, how, k, cut) BELOW1(s##2, how, k, cut)
#define NONE(s, v) v
#define REST(s, v) _mm512_add_epi32(v, s##_rest)
#define WIDE1(s, how, even, k, rest, shift, lo) \\
    { \\
        const __m512i v = rest(s, (TIMES##how(s, k))); \\
        s = ROUND##even(v, shift); \\
        if (lo) s = _mm512_sub_epi32(s, _mm512_set1_epi32(lo)); \\
    }
#define WIDE(s, how, even, k, rest, shift, m, b, lo, top) \\
    WIDE1(s##0, how, even, k, rest, shift, lo) WIDE1(s##1, how, even, k, rest, shift, lo) \\
    WIDE1(s##2, how, even, k, rest, shift, lo)
#define BYTES1(y, p, q, r, s, shift, top) \\
    FOUR(y, _mm512_packs_epi32(p, q), _mm512_packs_epi32(r, s), top)
#define BYTES(i, p, q, r, s, top) EACH(BYTES1, i, p, q, r, s, 0, top)
#define KEEP(s, i) \\
    _mm512_storeu_si512(y + i * 48, s##0); \\
    _mm512_storeu_si512(y + i * 48 + 16, s##1); \\
    _mm512_storeu_si512(y + i * 48 + 32, s##2);
#define BYTE(y, i, lane) ((const uint8_t *)y)[((i) / 4 * 48 + lane) * 4 + (i) % 4]
#define PUT(y, v, to) \\
    if (v == 0) y.v0 = to; \\
    else if (v == 1) y.v1 = to; \\
    else y.v2 = to;
/* Bytes that count from the smallest integer, shifted up within themselves. */
#define RAISE(v) \\
    _mm512_slli_epi16(_mm512_sub_epi8(v, _mm512_set1_epi8((char)(@LOW))), @ENTER)
#define ENTER(features) \\
    for (int q = 0; 4 * q < features; q++) { \\
        uint8_t *h = (uint8_t *)(y + q); \\
        const size_t size = features - 4 * q < 4 ? features - 4 * q : 4; \\
        for (int lane = 0; lane < 48; lane++) \\
            memcpy(h + 4 * lane, x + lane * features + 4 * q, size); \\
        y[q].v0 = RAISE(y[q].v0); \\
        y[q].v1 = RAISE(y[q].v1); \\
        y[q].v2 = RAISE(y[q].v2); \\
    }
/* Rows of sixteen bytes: their quads change places with the samples, four by four. */
#define ROW(i, order) _mm512_shuffle_epi8(RAISE(_mm512_loadu_si512(x + (i) * 16)), order)
#define ENTER16(...) \\
    const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(__VA_ARGS__)); \\
    for (int v = 0; v < 3; v++) { \\
        const __m512i a = ROW(16 * v, order), b = ROW(16 * v + 4, order); \\
        const __m512i c = ROW(16 * v + 8, order), d = ROW(16 * v + 12, order); \\
        const __m512i e = _mm512_unpacklo_epi32(a, b), f = _mm512_unpackhi_epi32(a, b); \\
        const __m512i g = _mm512_unpacklo_epi32(c, d), h = _mm512_unpackhi_epi32(c, d); \\
        PUT(y[0], v, _mm512_unpacklo_epi64(e, g)) \\
        PUT(y[1], v, _mm512_unpackhi_epi64(e, g)) \\
        PUT(y[2], v, _mm512_unpacklo_epi64(f, h)) \\
        PUT(y[3], v, _mm512_unpackhi_epi64(f, h)) \\
    }
/* Lane 16 v + 4 i + j holds sample 16 v + i + 4 j behind ENTER16, its own behind ENTER. */
#define PLACE16(lane) ((lane) / 16 * 16 + (lane) % 4 * 4 + (lane) / 4 % 4)
#define PLACE(lane) (lane)
#define FOURS16 1
#define FOURS 4
/* Up to eight sums of 16 bits a sample: the way back. name_leave: where each result comes from. */
#define NAME_LEAVE16
#define FIRST(n, all) (n < all ? ((uint64_t)1 << ((n) & (all - 1))) - 1 : ~(uint64_t)0)
#define WORDS2(h, i, v, count) \\
    _mm512_mask_blend_epi16(0xaaaaaaaau, LOAD1(h, i, v, count), \\
                            _mm512_slli_epi32(LOAD1(h, i + 1, v, count), 16))
#define LOAD1(h, i, v, count) \\
    (i < count ? _mm512_loadu_si512(h + (i) * 48 + 16 * v) : _mm512_setzero_si512())
#define LEAVE16(h, y, count, fours) \\
    for (int v = 0; v < 3; v++) { \\
        const __m512i a = WORDS2(h, 0, v, count), b = WORDS2(h, 2, v, count); \\
        const __m512i c = WORDS2(h, 4, v, count), d = WORDS2(h, 6, v, count); \\
        for (int k = 0; k < 16 * count; k += 32) { \\
            const __m512i from = _mm512_loadu_si512(name_leave + k); \\
            _mm512_mask_storeu_epi16( \\
                y + 16 * count * v + k, (__mmask32)FIRST(16 * count - k, 32), \\
                _mm512_mask_blend_epi16(_mm512_movepi16_mask(from), \\
                                        _mm512_permutex2var_epi16(a, from, b), \\
                                        _mm512_permutex2var_epi16(c, from, d))); \\
        } \\
    }
/* Up to eight bytes a sample. */
#define LOAD8(h, i) _mm512_loadu_si512((const __m512i *)(const void *)(h) + (i))
#ifdef __AVX512VBMI__
#define NAME_LEAVE8
#define LEAVE8(h, y, count, low, fours) \\
    for (int v = 0; v < 3; v++) { \\
        const __m512i less = _mm512_set1_epi8((char)(low)); \\
        const __m512i a = _mm512_add_epi8(LOAD8(h, v), less); \\
        const __m512i b = _mm512_add_epi8(LOAD8(h, 3 * (count > 4) + v), less); \\
        for (int k = 0; k < 16 * count; k += 64) \\
            _mm512_mask_storeu_epi8( \\
                y + 16 * count * v + k, (__mmask64)FIRST(16 * count - k, 64), \\
                _mm512_permutex2var_epi8(a, _mm512_loadu_si512(name_leave + k), b)); \\
    }
#else
#define LEAVE8(h, y, count, low, fours) \\
    for (int v = 0; v < 3; v++) { \\
        const __m512i less = _mm512_set1_epi8((char)(low)); \\
        const __m512i a = _mm512_add_epi8(LOAD8(h, v), less); \\
        const __m512i b = _mm512_add_epi8(LOAD8(h, 3 * (count > 4) + v), less); \\
        uint8_t t[2][64]; \\
        _mm512_storeu_si512(t[0], _mm512_unpacklo_epi32(a, b)); \\
        _mm512_storeu_si512(t[1], _mm512_unpackhi_epi32(a, b)); \\
        for (int j = 0; j < 4; j++) \\
            for (int i = 0; i < 4; i++) \\
                memcpy(y + (16 * v + fours * i + 4 / fours * j) * count, \\
                       t[j / 2] + 16 * i + 8 * (j % 2), count); \\
    }
#endif
"""
_GNU = """\
#elif defined(__GNUC__) && !defined(NAME_PLAIN)
#ifdef __AVX2__
#define NAME_LANES 16 /* samples at once */
#else
#define NAME_LANES 8
#endif
typedef @KIND name_sum;
typedef name_sum name_lane __attribute__((vector_size(NAME_LANES * sizeof(name_sum))));
typedef int32_t name_wide __attribute__((vector_size(NAME_LANES * 4)));
typedef struct { name_lane v[4]; } name_quads; /* four inputs in each lane */
#define LAYER(k)
#define VNNI(x)
#define GNU(x) x
#define GROUP __asm__ volatile("" : "+r"(x) : : "memory");
#define ALL(b) ((name_lane){0} + (name_sum)(b))
#define SUM(s, k, b) name_lane s = ALL(b);
#define QUAD(q)
#define TERM(s, q, i, a) \\
    if ((a) != 0) s += x[q].v[i] * ALL(a);
#define DOT(s, q, k, a, b, c, d) \\
    TERM(s, q, 0, a) TERM(s, q, 1, b) TERM(s, q, 2, c) TERM(s, q, 3, d)
#define LEAST(v, m) ((v & (v < m)) | (m & (v >= m)))
#define MOST(v, m) ((v & (v > m)) | (m & (v <= m)))
#define CLIP(v, lo, hi) MOST(LEAST((v), ALL(hi)), ALL(lo))
#define WORD(v) @WORD
#define EACH(do, i, p, q, r, s, shift, top) \\
    do(y[i].v[0], p, shift, top) do(y[i].v[1], q, shift, top) \\
    do(y[i].v[2], r, shift, top) do(y[i].v[3], s, shift, top)
#define STORE(y, u, top) \\
    { \\
        const name_lane v = u; \\
        y = CLIP(v, 0, top); \\
    }
#define PLAIN1(y, p, shift, top) STORE(y, WORD(p) >> shift, top)
#define PLAIN(i, p, q, r, s, shift, top) EACH(PLAIN1, i, p, q, r, s, shift, top)
#define EVEN1(y, p, shift, top) \\
    STORE(y, (WORD(p) + ((WORD(p) >> shift) & ALL(1)) + ALL((1 << shift >> 1) - 1)) >> shift, top)
#define EVEN(i, p, q, r, s, shift, top) EACH(EVEN1, i, p, q, r, s, shift, top)
#define TO_WIDE(v) __builtin_convertvector(v, name_wide)
#define TO_LANE(v) __builtin_convertvector(v, name_lane)
#define SCALED1(y, p, a, shift, top) \\
    STORE(y, TO_LANE(TO_WIDE(WORD(p)) * (int32_t)a >> (16 + shift)), top)
#define SCALED(i, p, q, r, s, shift, top, k, a, b, c, d) \\
    SCALED1(y[i].v[0], p, a, shift, top) SCALED1(y[i].v[1], q, b, shift, top) \\
    SCALED1(y[i].v[2], r, c, shift, top) SCALED1(y[i].v[3], s, d, shift, top)
#define ROUND0(v, shift) v
#define ROUND1(v, shift) v + ((1 << shift >> 1) - 1) + ((v >> shift) & 1)
#define BELOW(s, how, k, cut, m, b) \\
    const name_wide s##_rest = (TO_WIDE(s) * (int32_t)m + (int32_t)b) >> cut;
#define NONE(s, v) v
#define REST(s, v) v + s##_rest
#define WIDE(s, how, even, k, rest, shift, m, b, lo, top) \\
    { \\
        name_wide v = rest(s, TO_WIDE(s) * (int32_t)m + (int32_t)b); \\
        v = ((ROUND##even(v, shift)) >> shift) - (int32_t)lo; \\
        v &= v > 0; \\
        v = (v & (v < top)) | (top & (v >= top)); \\
        s = TO_LANE(v); \\
    }
#define BYTES1(y, p, shift, top) y = p;
#define BYTES(i, p, q, r, s, top) EACH(BYTES1, i, p, q, r, s, 0, top)
#define KEEP(s, i) memcpy(y + i * NAME_LANES, &s, sizeof s);
#define BYTE(y, i, lane) y[(i) / 4].v[(i) % 4][lane]
#define FILL(i, from) \\
    { \\
        name_sum h[NAME_LANES]; \\
        for (int lane = 0; lane < NAME_LANES; lane++) h[lane] = (name_sum)(x[from] - (@LOW)); \\
        memcpy(&y[i / 4].v[i % 4], h, sizeof h); \\
    }
#define ENTER(features) \\
    for (int i = 0; i < features; i++) FILL(i, lane * features + i)
#define ENTER16(...) \\
    static const uint8_t order[16] = {__VA_ARGS__}; \\
    for (int i = 0; i < 16; i++) FILL(i, lane * 16 + order[i])
#define PLACE16(lane) (lane)
#define PLACE(lane) (lane)
#define LEAVE16(h, y, count, fours) \\
    for (int lane = 0; lane < NAME_LANES; lane++) \\
        for (int i = 0; i < count; i++) y[lane * count + i] = (int16_t)h[i * NAME_LANES + lane];
#define LEAVE8(h, y, count, low, fours) \\
    for (int lane = 0; lane < NAME_LANES; lane++) \\
        for (int i = 0; i < count; i++) \\
            y[lane * count + i] = (uint8_t)(BYTE(h, i, lane) + low);
"""
_END = """\
#endif

#ifdef NAME_LANES
"""
