#ifdef SELFCHECK
// A program that checks the functions above: cc -DSELFCHECK FILE.c -lm && ./a.out. Arrays get numbers that look random,
// and along one direction for each array the gradient is compared with a difference of values; the value is compared with
// what it was when the file was written. It ends with 1 where one is wrong.
#include <stdio.h>

// The range of the numbers; those of matrices are divided by the root of their last length, so that nothing explodes.
#if defined(SELFCHECK_FROM) != defined(SELFCHECK_TO)
#error "give both, -DSELFCHECK_FROM=0.5 -DSELFCHECK_TO=1.5"
#endif
#ifndef SELFCHECK_FROM
#define SELFCHECK_FROM (-1.0)
#define SELFCHECK_TO 1.0
#define SELFCHECK_IS_USUAL 1
#else
#define SELFCHECK_IS_USUAL 0
#endif

// An array, its gradient, and how many numbers both have.
typedef struct {
    const char *name;
    real *x;
    const real *slope;
    size_t count;
} selfcheck_block;

// A number from 0 to 1 that looks random, another one for each i.
static inline real selfcheck_number(uint32_t i) {
    uint32_t x = i*2654435761U + 12345U;
    x = (x ^ (x >> 16))*0x45d9f3bU;
    x = (x ^ (x >> 16))*0x45d9f3bU;
    return (real)(x ^ (x >> 16))/(real)4294967296.0;
}

static inline uint32_t selfcheck_fill(uint32_t from, real *x, size_t count, real scale) {
    for (size_t i = 0; i < count; i++)
        x[i] = ((real)SELFCHECK_FROM + selfcheck_number(from++)*(real)(SELFCHECK_TO - SELFCHECK_FROM))*scale;
    return from;
}

static inline uint32_t selfcheck_choose(uint32_t from, uint32_t *x, size_t count, uint32_t limit) {
    for (size_t i = 0; i < count; i++) x[i] = (uint32_t)(selfcheck_number(from++)*(real)limit);
    return from;
}

static inline real selfcheck_product(const real *x, const real *y, size_t count) {
    real sum = 0;
    for (size_t i = 0; i < count; i++) sum += x[i]*y[i];
    return sum;
}

static inline void selfcheck_move(const selfcheck_block *b, real by) {
    for (size_t i = 0; i < b->count; i++) b->x[i] += by*(selfcheck_number(0x40000000U + (uint32_t)i) - (real)0.5);
}

// Whether the gradient with respect to an array is another than a difference along a direction: of the values at points
// that are moved by a little, to both sides.
static inline int selfcheck_is_wrong(const selfcheck_block *b, real (*value)(void)) {
    const real step = (real)1e-5;
    real wanted = 0, size = 0;
    for (size_t i = 0; i < b->count; i++) {
        const real term = b->slope[i]*(selfcheck_number(0x40000000U + (uint32_t)i) - (real)0.5);
        wanted += term;
        size += term < 0 ? -term : term;
    }
    selfcheck_move(b, step);
    const real above = value();
    selfcheck_move(b, -2*step);
    const real below = value();
    selfcheck_move(b, step);
    const real found = (above - below)/(2*step), off = found < wanted ? wanted - found : found - wanted;
    const real most = (real)1e-6*size + (real)1e-9*(1 + (above < 0 ? -above : above));
    const int is_wrong = !(off <= most);  // where one is not a number too
    printf("%-20s %s: %.9g along a direction, by a difference %.9g\n", b->name, is_wrong ? "WRONG" : "right",
           (double)wanted, (double)found);
    return is_wrong;
}

// `told` is the value at these numbers when the file was written: what the functions have wrong alike shows there.
static inline int selfcheck_all(const selfcheck_block *blocks, size_t count, real (*value)(void), real told) {
    int wrong = 0, is_other = 0;
    if (SELFCHECK_IS_USUAL) {
        const real found = value(), off = found < told ? told - found : found - told;
        is_other = !(off <= (real)1e-9*(1 + (told < 0 ? -told : told)));
        printf("%-20s %s: %.9g, and %.9g when the file was written\n", "the value", is_other ? "WRONG" : "right",
               (double)found, (double)told);
    }
    for (size_t i = 0; i < count; i++) wrong += selfcheck_is_wrong(blocks + i, value);
    const real now = value();
    if (now != now)
        printf("the value is not a number: choose other numbers, such as -DSELFCHECK_FROM=0.5 -DSELFCHECK_TO=1.5\n");
    printf("%d gradients, %d wrong\n", (int)count, wrong);
    return wrong != 0 || is_other;
}
