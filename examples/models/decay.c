/* A line in, seed and parameters; a line out, the values. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>

static uint64_t state;

/* SplitMix64: a number in (0, 1]. */
static double uniform(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return ((double)((z ^ (z >> 31)) >> 11) + 1) / 9007199254740992.0;
}

static double normal(void) {
    double radius = sqrt(-2 * log(uniform()));
    return radius * cos(6.283185307179586 * uniform());
}

int main(void) {
    const double times[] = {0.5, 1, 2};
    unsigned seed;
    double k, s;
    while (scanf("%u %lf %lf", &seed, &k, &s) == 3) {
        state = seed;
        for (int i = 0; i < 3; i++)
            printf("%.17g%c", exp(-k * times[i] + s * normal()), i < 2 ? ' ' : '\n');
        fflush(stdout);
    }
    return 0;
}
