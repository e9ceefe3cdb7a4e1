/* Timing loops inside the process: compiled with jets.h and jets.c. */
#include <stdint.h>
#include <time.h>

#include "jets.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Nanoseconds of one call with one sample, the shortest of many rounds. */
double single(const void *x, void *y)
{
    double best = 1e18;
    for (int round = 0; round < 4000; round++) {
        const double start = now();
        for (int i = 0; i < 64; i++) jets_run((const IN *)x + 16 * i, (OUT *)y + 5 * i, 1);
        const double each = (now() - start) / 64;
        if (each < best) best = each;
    }
    return best;
}

/* Nanoseconds of one vector addition where nothing waits for another; 0 without AVX-512. */
double slot(void)
{
    double best = 0;
#ifdef __AVX512F__
#define ADD(i) "vpaddw %%zmm31, %%zmm30, %%zmm" #i "\n"
    for (int round = 0; round < 4000; round++) {
        const double start = now();
        for (int i = 0; i < 500; i++)
            __asm__ volatile(ADD(0) ADD(1) ADD(2) ADD(3) ADD(4) ADD(5) ADD(6) ADD(7)::
                                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
        const double each = (now() - start) / 4000;
        if (best == 0 || each < best) best = each;
    }
#endif
    return best;
}
