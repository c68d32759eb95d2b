/* Arrays of numpy: (rows, 3) of seed and parameters in, (rows, 3) values out, on a machine whose numbers are little-endian. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    unsigned char start[10];
    while (fread(start, 1, 10, stdin) == 10) {
        /* The header says the shape, in text; ours is wanted back, since rows are as long. */
        size_t length = start[8] + 256u * start[9];
        char header[1024] = "";
        if (length >= sizeof header || fread(header, 1, length, stdin) != length)
            return 1;
        char *shape = strstr(header, "'shape': (");
        size_t rows = shape ? strtoul(shape + 10, NULL, 10) : 0;
        double *values = malloc(rows * 3 * sizeof *values);
        if (fread(values, 3 * sizeof *values, rows, stdin) != rows)
            return 1;
        for (size_t row = 0; row < rows; row++) {
            double *at = values + 3 * row, k = at[1], s = at[2];
            state = (uint64_t)at[0];
            for (int i = 0; i < 3; i++)
                at[i] = exp(-k * times[i] + s * normal());
        }
        fwrite(start, 1, 10, stdout);
        fwrite(header, 1, length, stdout);
        fwrite(values, 3 * sizeof *values, rows, stdout);
        fflush(stdout);
        free(values);
    }
    return 0;
}
