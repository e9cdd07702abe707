/* Trains the model of model.py on the sunspots of 1700 to 1950 by Adam, without allocation, and prints its loss.
 *
 *     symbptt generate docs/examples/embedded/model.py:model --target c --sizes "m=1,n=8" --steps 250 -o sunspots.c
 *     cc -std=c99 -O2 -I. docs/examples/embedded/main.c sunspots.c -lm -o sunspots
 *     ./sunspots docs/data/sunspots.csv
 *
 * The loss is the mean squared error of forecasts one year ahead, of square roots over ten. Persistence (the next year is
 * like this one) has 0.026 there; the network should end below half of it.
 */
#include <math.h>
#include <stdio.h>

#include "sunspots.h"

#define real mgu_squared_error_real
#define arena mgu_squared_error_arena

enum { T = MGU_SQUARED_ERROR_T, COUNT = sizeof(mgu_squared_error_params)/sizeof(real), ROUNDS = 600 };

static mgu_squared_error_params params;

/* All parameters, and all of the gradient, as one array each: structs of nothing but numbers. */
static real *const parameters = (real *)&params;
static const real *const gradient = (const real *)&arena.gradients.params;

/* Reads the years into the arena: `x` is a year, `y` the next one. */
static int read_years(const char *path) {
    FILE *file = fopen(path, "r");
    double year, spots;
    if (!file) return 0;
    int t = fscanf(file, "year,sunspots") == 0 ? 0 : -1;
    for (; t >= 0 && t <= T && fscanf(file, "%lf,%lf", &year, &spots) == 2; t++) {
        const real value = (real)(sqrt(spots)/10);
        if (t < T) arena.inputs.x[t][0][0] = value;
        if (t > 0) arena.targets.y[t - 1][0][0] = value;
    }
    fclose(file);
    return t == T + 1;
}

/* One step of Adam (Kingma and Ba 2015, algorithm 1), the `round`-th from 1 on. */
static void adam(int round) {
    static real mean[COUNT], square[COUNT];
    const real rate = (real)0.01, a = (real)0.9, b = (real)0.999;
    const real from_zero = (real)(sqrt(1 - pow(0.999, round))/(1 - pow(0.9, round)));
    for (int i = 0; i < COUNT; i++) {
        mean[i] = a*mean[i] + (1 - a)*gradient[i];
        square[i] = b*square[i] + (1 - b)*gradient[i]*gradient[i];
        parameters[i] -= rate*from_zero*mean[i]/((real)sqrt(square[i]) + (real)1e-8);
    }
}

int main(int count, char **words) {
    unsigned long random = 1;
    double persistence = 0;
    if (count != 2 || !read_years(words[1])) {
        fprintf(stderr, "write the path of sunspots.csv, which has %d years at least\n", T + 1);
        return 1;
    }
    for (int t = 0; t < T; t++) persistence += pow(arena.targets.y[t][0][0] - arena.inputs.x[t][0][0], 2)/T;
    for (int i = 0; i < COUNT; i++) {
        random = (random*1103515245UL + 12345UL) & 0x7fffffffUL; /* of the C standard's example of rand() */
        parameters[i] = (real)((double)random/0x7fffffff - 0.5);
    }
    printf("%d parameters, an arena of %lu bytes\n", (int)COUNT, (unsigned long)sizeof arena);
    for (int round = 1; round <= ROUNDS; round++) {
        if (mgu_squared_error_value_and_grad(&params)) return 1;
        if (round == 1 || round % 100 == 0) printf("round %3d: loss %.5f\n", round, (double)arena.loss);
        adam(round);
    }
    printf("persistence: %.5f\n", persistence);
    return !(arena.loss < persistence/2);
}
