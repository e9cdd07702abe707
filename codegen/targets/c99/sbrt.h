/* What generated C calls: functions of numbers that compilers vectorise, and products of matrices with packed weights.
 *
 * real is float, or double where SBRT_DOUBLE is defined. A generated source has a copy of those paragraphs that it
 * needs: a paragraph ends at an empty line, and lines that begin with "static", "#define" or "typedef" name what it
 * defines. Nothing here allocates memory, or keeps anything between calls. Not for -ffast-math: it reorders the sums
 * below, which are in this order for their last digits.
 *
 * Functions are at most 2.5 units of rounding off, take NaN, infinities and signs of zero as NumPy does, and have no
 * branches but choices between two numbers, but for those that are of math.h: MATH(name). The program
 * `python -m tests.benchmarks.polynomials` computes the coefficients of their polynomials.
 */
#ifndef SBRT_H
#define SBRT_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#ifdef SBRT_DOUBLE
typedef double real;
#define MATH(name) name
#else
typedef float real;
#define MATH(name) name##f
#endif

#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#define OUTLINE __attribute__((noinline, unused))
#else
#define INLINE inline
#define OUTLINE inline
#endif

#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

#define ABS MATH(fabs)

#define ARCTAN MATH(atan)

#define ARCTAN2 MATH(atan2)

#define COPYSIGN MATH(copysign)

#define COS MATH(cos)

#define COSH MATH(cosh)

#define FLOOR MATH(floor)

#define FMOD MATH(fmod)

#define HYPOT MATH(hypot)

#define POWER MATH(pow)

#define SIN MATH(sin)

#define SINH MATH(sinh)

#define SQRT MATH(sqrt)

#define TAN MATH(tan)

static INLINE real SQUARE(real a) { return a*a; }

// NaN where one is NaN.
static INLINE real MAXIMUM(real a, real b) { return a > b || a != a ? a : b; }

static INLINE real MINIMUM(real a, real b) { return a < b || a != a ? a : b; }

static INLINE real RELU(real a) { return a > 0 || a != a ? a : 0; }

static INLINE real SIGN(real a) { return a != a ? a : a > 0 ? 1 : a < 0 ? -1 : (real)0; }

// a - b floor(a/b): it has the sign of b.
static INLINE real MOD(real a, real b) {
    const real r = FMOD(a, b);
    return r == 0 ? COPYSIGN(r, b) : (r < 0) != (b < 0) ? r + b : r;
}

// As NumPy has it, where a or b is not finite too.
static INLINE real FLOOR_DIVIDE(real a, real b) {
    const real r = FMOD(a, b), q = (a - r)/b - (r != 0 && (r < 0) != (b < 0)), f = FLOOR(q);
    return b == 0 ? a/b : q == 0 ? COPYSIGN(0, a/b) : q - f > (real)0.5 ? f + 1 : f;
}

// The bits of a number: DIGITS of fraction, above them the exponent with BIAS added.
#ifdef SBRT_DOUBLE
typedef uint64_t bits;
#define DIGITS 52
#define BIAS 1023U
#else
typedef uint32_t bits;
#define DIGITS 23
#define BIAS 127U
#endif
typedef union { real number; bits pattern; } both;
static INLINE bits bits_of(real x) { return ((both){.number = x}).pattern; }
static INLINE real real_of(bits x) { return ((both){.pattern = x}).number; }

// 2 to the power of k - BIAS, for k from 1 to 2 BIAS.
static INLINE real two_to(bits k) { return real_of(k << DIGITS); }

// ln 2 in two parts; as many last bits of the first one are zero as the exponent has.
#ifdef SBRT_DOUBLE
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 1.90821492927058770002e-10
#else
#define LN2_HIGH 0x1.62e4p-1F
#define LN2_LOW 1.42860682030941723212e-6F
#endif

// exp(x) = 2^(k - 2 BIAS) (1 + the result). The result is exp(r) - 1 for the rest r of x after the division by ln 2,
// r + r² P(r): for |r| ≤ 0.3467 the polynomial P is 3e-9 (float), 3e-18 (double) off.
static INLINE real exp_rest(real x, bits *k) {
#ifdef SBRT_DOUBLE
    const real shift = 0x1.8p52, shifted = x*1.44269504088896340736 + shift;  // its last bits are x/ln 2, rounded
#else
    const real shift = 0x1.8p23F, shifted = x*1.44269504F + shift;  // its last bits are x/ln 2, rounded
#endif
    const real whole = shifted - shift, high = x - whole*LN2_HIGH, low = whole*LN2_LOW, r = high - low;
#ifdef SBRT_DOUBLE
    real p = 2.0914707069612353e-9*r + 2.510524515390137e-8;
    p = ((p*r + 2.7557273594799413e-7)*r + 2.7557255332554409e-6)*r + 2.4801587325585839e-5;
    p = ((p*r + 0.00019841269874873975)*r + 0.0013888888888883737)*r + 0.0083333333333261199;
    p = ((p*r + 0.04166666666666667)*r + 0.16666666666666671)*r + 0.5;
#else
    real p = 0.000198910172F*r + 0.00139336737F;
    p = (((p*r + 0.0083333109F)*r + 0.0416664647F)*r + 0.166666667F)*r + 0.5F;
#endif
    *k = bits_of(shifted) - bits_of(shift) + 2*BIAS;
    return r + (r*r*p + ((high - r) - low));
}

static INLINE real EXP(real x) {
    const real most = DIGITS == 52 ? 710 : 89, least = DIGITS == 52 ? -746 : -104;  // beyond: infinite, and zero
    bits k;
    const real a = x > most ? most : x < least ? least : x, e = exp_rest(a, &k);
    return (1 + e)*two_to(k/2)*two_to(k - k/2);  // in two steps: what is tiny is rounded once
}

static INLINE real EXPM1(real x) {
    const real most = DIGITS == 52 ? 710 : 89, least = DIGITS == 52 ? -40 : -20;  // from there on it is -1
    bits k;
    const real a = x > most ? most : x < least ? least : x, e = exp_rest(a, &k), half = two_to(k - BIAS - 1);
    return x == 0 ? x : k == 2*BIAS ? e : 2*(half*e + (half - (real)0.5));
}

// (e - 1)/(e + 1) for e = exp(2|x|), from e - 1.
static INLINE real TANH(real x) {
    const real most = DIGITS == 52 ? 20 : 10, y = ABS(x);  // from there on it is 1
    bits k;
    const real e = exp_rest(2*(y > most ? most : y), &k), s = two_to(k - BIAS), m = (s - 1) + s*e;
    return COPYSIGN(m/(m + 2), x);
}

// 1 - tanh(a)² = 4 e/(1 + e)² for e = exp(-2|a|), with all its digits.
static INLINE real TANH_REST(real a) {
    const real least = DIGITS == 52 ? -748 : -106, x = -2*ABS(a);
    bits k;
    const real rest = exp_rest(x < least ? least : x, &k);
    const real e4 = (1 + rest)*two_to(k/2)*two_to(k - k/2 + 2), e2 = e4/2, e = e4/4;
    const real s = 1 + e2, lost = e2 - (s - 1);  // 1 + 2 e = s + lost
    return e4/(s + (lost + e*e));
}

static INLINE real SIGMOID(real a) {
    const real e = EXP(-ABS(a));  // never overflows
    return (a < 0 ? e : 1)/(1 + e);
}

// 1 - σ(a), with all its digits.
static INLINE real SIGMOID_REST(real a) { return SIGMOID(-a); }

// k ln 2 + log(1 + f), for 1 + f from √½ to √2. With s = f/(2 + f), log(1 + f) = 2 s + s³ Q(s²): the polynomial is
// 3e-7 (float), 5e-16 (double) off, of a term that is a hundredth of the first one. 2 s = f - s f keeps its digits.
static INLINE real log_of(real k, real f) {
    const real s = f/(2 + f), z = s*s, half = f*f/2;
#ifdef SBRT_DOUBLE
    real q = (0.14619343453512615*z + 0.15331487235865733)*z + 0.18182896183483087;
    q = (((q*z + 0.22222211037816588)*z + 0.28571428626570204)*z + 0.39999999999898192)*z + 0.66666666666666697;
#else
    const real q = (0.295821589F*z + 0.399887318F)*z + 0.666666852F;
#endif
    return k*LN2_HIGH + (f - (half - (s*(half + z*q) + k*LN2_LOW)));
}

// The exponent of a number with BIAS added, such that what is left of it lies between √½ and √2.
static INLINE bits exponent_of(real x) {
    return (bits_of(x) + (bits_of(1) - bits_of((real)0.70710678118654752))) >> DIGITS;
}

// A whole number under 2^DIGITS as a real.
static INLINE real whole_of(bits k) {
    const real base = DIGITS == 52 ? (real)0x1p52 : (real)0x1p23;
    return real_of(bits_of(base) | k) - base;
}

static INLINE real LOG(real x) {
    const real least = DIGITS == 52 ? (real)0x1p-1022 : (real)0x1p-126, up = DIGITS == 52 ? (real)0x1p54 : (real)0x1p25;
    const real a = x < least ? x*up : x, lifted = x < least ? (DIGITS == 52 ? 54 : 25) : (real)0;
    const bits k = exponent_of(a);
    const real found = log_of(whole_of(k) - (real)BIAS - lifted, real_of(bits_of(a) - ((k - BIAS) << DIGITS)) - 1);
    return x > 0 ? (x < INFINITY ? found : x) : x == 0 ? -INFINITY : NAN;
}

static INLINE real LOG1P(real x) {
    const real u = 1 + x, v = u - 1, lost = (1 - (u - v)) + (x - v);  // 1 + x = u + lost
    const bits k = exponent_of(u);
    const real m = real_of(bits_of(u) - ((k - BIAS) << DIGITS));  // m/u is a power of two
    const real found = log_of(whole_of(k) - (real)BIAS, (m - 1) + lost*(m/u));
    return u > 0 ? (u < INFINITY ? COPYSIGN(found, x) : x) : u == 0 ? -INFINITY : NAN;  // -0 for -0
}

static INLINE real SOFTPLUS(real a) { return RELU(a) + LOG1P(EXP(-ABS(a))); }

// x P(x²) up to 1, then 1 - exp(-x²) Q(1/(x + 2)): P is 2e-9 (float), 2e-19 (double) off, and Q 3e-8 and 6e-16, of a
// term under 0.16.
static INLINE real ERF(real x) {
    const real a = ABS(x), z = x*x, u = 1/(a + 2);
#ifdef SBRT_DOUBLE
    real p = (5.9571761477489114e-11*z - 1.1372848856791674e-9)*z + 1.4659775274047436e-8;
    p = ((p*z - 1.6350312701054695e-7)*z + 1.6461000484121368e-6)*z - 1.4925595266831182e-5;
    p = ((p*z + 0.00012055331111642711)*z - 0.00085483269808337899)*z + 0.0052239776248180145;
    p = (((p*z - 0.026866170645076793)*z + 0.11283791670954879)*z - 0.37612638903183748)*z + 1.1283791670955126;
    real q = (452.58963119769736*u - 525.46641222586358)*u - 1256.7959485814091;
    q = (((q*u + 3616.4508309341699)*u - 4031.2209435627843)*u + 2540.6013600057609)*u - 986.94947796412884;
    q = (((q*u + 265.36858235825114)*u - 66.082920453137816)*u + 9.0864864650782901)*u + 1.551854614669498;
    q = (((q*u + 2.9222891496873524)*u + 1.9680681279932931)*u + 1.1286732724932137)*u + 0.56418153901131856;
    q = q*u + 1.0182143006768101e-7;
#else
    real p = (7.87587506e-5F*z - 0.000801686429F)*z + 0.00518908742F;
    p = (((p*z - 0.026854212F)*z + 0.112835947F)*z - 0.376126267F)*z + 1.12837917F;
    real q = (13.587454F*u - 27.273292F)*u + 15.9395469F;
    q = ((((q*u - 0.830266118F)*u + 2.58781276F)*u + 1.06586144F)*u + 0.567753946F)*u - 8.72548553e-5F;
#endif
    return a < 1 ? x*p : COPYSIGN(1 - EXP(-z)*q, x);
}

// Whether any of so many numbers is under a limit.
static inline int any_below(size_t count, const real *x, real limit) {
    bits found = 0;
    INDEPENDENT for (size_t i = 0; i < count; i++) found |= x[i] < limit;
    return found != 0;
}

// Whether all of so many indices are under a limit.
static inline int all_below(size_t count, const uint32_t *index, uint32_t limit) {
    for (size_t i = 0; i < count; i++)
        if (index[i] >= limit) return 0;
    return 1;
}

// Vectors of GCC and Clang, whose sums stay in registers; elsewhere a vector is one number.
#if defined(__GNUC__) && !defined(SBRT_PLAIN)
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
typedef real vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));
#define LANES (VECTOR_BYTES/sizeof(real))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#else
typedef real vector;
#define LANES ((size_t)1)
#define UNROLL
#endif
static INLINE vector loaded(const real *from) { return *(const vector *)from; }
static INLINE void store(real *to, vector x) { *(vector *)to = x; }

// A panel is K rows of WIDE vectors, those behind the last whole one of one vector. A kernel has ROWS rows of results
// in registers.
#if defined(__AVX512F__)
#define WIDE ((size_t)4)
#define ROWS ((size_t)6)
#elif defined(__aarch64__)
#define WIDE ((size_t)2)
#define ROWS ((size_t)8)
#else
#define WIDE ((size_t)2)
#define ROWS ((size_t)6)
#endif
static INLINE size_t panel_width(size_t left) { return left >= WIDE*LANES ? WIDE*LANES : LANES; }

// The next address that is a multiple of 64 bytes, where loads of vectors are cheapest.
static inline real *aligned(real *room) {
    return room + (64 - (uintptr_t)room%64)%64/sizeof(real);
}

// Write a matrix (K, N), whose elements lie row and column apart, as panels; the last one is filled up with zeros. For
// a BLAS all is one panel.
static OUTLINE void pack(size_t K, size_t N, const real *W, size_t row, size_t column, real *panels) {
    for (size_t j = 0, width; j < N; j += width) {
#ifdef SBRT_BLAS
        width = N;
#else
        width = panel_width(N - j);
#endif
        const size_t filled = N - j < width ? N - j : width;
        for (size_t k = 0; k < K; k++, panels += width)
            for (size_t i = 0; i < width; i++) panels[i] = i < filled ? W[k*row + (j + i)*column] : 0;
    }
}

// Write, or add where `add` is true, the product of some rows of A with a panel of `wide` vectors; the numbers of rows
// and of vectors are known where this is called, so that all sums stay in registers.
static INLINE void kernel(const size_t rows, const size_t wide, int add, size_t K, const real *restrict A, size_t row,
                          size_t column, const real *restrict panel, real *restrict C, size_t next) {
    vector sums[8][4];
    UNROLL for (size_t r = 0; r < rows; r++)
        UNROLL for (size_t v = 0; v < wide; v++) sums[r][v] = add ? loaded(C + r*next + v*LANES) : (vector){0};
    for (size_t k = 0; k < K; k++) {
        vector b[4];
        UNROLL for (size_t v = 0; v < wide; v++) b[v] = loaded(panel + (k*wide + v)*LANES);
        UNROLL for (size_t r = 0; r < rows; r++)
            UNROLL for (size_t v = 0; v < wide; v++) sums[r][v] += A[r*row + k*column]*b[v];
    }
    UNROLL for (size_t r = 0; r < rows; r++)
        UNROLL for (size_t v = 0; v < wide; v++) store(C + r*next + v*LANES, sums[r][v]);
}

// The same for one row: its sum is taken in `parts`, which do not wait for each other.
static INLINE void kernel_of_row(const size_t parts, const size_t wide, int add, size_t K, const real *restrict A,
                                 size_t column, const real *restrict panel, real *restrict C) {
    vector sums[8][4];
    size_t k = 0;
    UNROLL for (size_t s = 0; s < parts; s++)
        UNROLL for (size_t v = 0; v < wide; v++) sums[s][v] = add && s == 0 ? loaded(C + v*LANES) : (vector){0};
    for (; k + parts <= K; k += parts)
        UNROLL for (size_t s = 0; s < parts; s++)
            UNROLL for (size_t v = 0; v < wide; v++)
                sums[s][v] += A[(k + s)*column]*loaded(panel + ((k + s)*wide + v)*LANES);
    for (; k < K; k++)
        UNROLL for (size_t v = 0; v < wide; v++) sums[0][v] += A[k*column]*loaded(panel + (k*wide + v)*LANES);
    UNROLL for (size_t v = 0; v < wide; v++) {
        UNROLL for (size_t s = 1; s < parts; s++) sums[0][v] += sums[s][v];
        store(C + v*LANES, sums[0][v]);
    }
}

static OUTLINE void wide_kernel(size_t rows, int add, size_t K, const real *A, size_t row, size_t column,
                                const real *panel, real *C, size_t next) {
    switch (rows) {
        case 1: kernel_of_row(4, WIDE, add, K, A, column, panel, C); break;
        case 2: kernel(2, WIDE, add, K, A, row, column, panel, C, next); break;
        case 3: kernel(3, WIDE, add, K, A, row, column, panel, C, next); break;
        case 4: kernel(4, WIDE, add, K, A, row, column, panel, C, next); break;
        case 5: kernel(5, WIDE, add, K, A, row, column, panel, C, next); break;
#if defined(__aarch64__)
        case 6: kernel(6, WIDE, add, K, A, row, column, panel, C, next); break;
        case 7: kernel(7, WIDE, add, K, A, row, column, panel, C, next); break;
#endif
        default: kernel(ROWS, WIDE, add, K, A, row, column, panel, C, next);
    }
}

static OUTLINE void slim_kernel(size_t rows, int add, size_t K, const real *A, size_t row, size_t column,
                                const real *panel, real *C, size_t next) {
    switch (rows) {
        case 1: kernel_of_row(8, 1, add, K, A, column, panel, C); break;
        case 2: kernel(2, 1, add, K, A, row, column, panel, C, next); break;
        case 3: kernel(3, 1, add, K, A, row, column, panel, C, next); break;
        case 4: kernel(4, 1, add, K, A, row, column, panel, C, next); break;
        case 5: kernel(5, 1, add, K, A, row, column, panel, C, next); break;
        case 6: kernel(6, 1, add, K, A, row, column, panel, C, next); break;
        case 7: kernel(7, 1, add, K, A, row, column, panel, C, next); break;
        default: kernel(8, 1, add, K, A, row, column, panel, C, next);
    }
}

// The same for one vector of which only so many numbers are columns of C.
static OUTLINE void partial_kernel(size_t filled, size_t rows, int add, size_t K, const real *A, size_t row,
                                  size_t column, const real *panel, real *C, size_t next) {
    real found[8*LANES];
    slim_kernel(rows, 0, K, A, row, column, panel, found, LANES);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < filled; i++) C[r*next + i] = (add ? C[r*next + i] : 0) + found[r*LANES + i];
}

// How many of M rows go together, `most` at most, such that all parts are alike.
static inline size_t evenly(size_t M, size_t most) {
    const size_t parts = (M + most - 1)/most;
    return parts ? (M + parts - 1)/parts : 1;
}

// C = A W, or C += A W where `add` is true, for M rows of A, whose elements lie row and column apart, and of C, whose
// elements lie one behind the other, rows `next` apart. W has K rows and N columns, as panels, of which so many rows
// at a time are used for all rows of A that they stay in the first cache.
#ifdef SBRT_BLAS
void sbrt_product(size_t M, size_t N, size_t K, const real *A, size_t row, size_t column, const real *W, int add,
                  real *C, size_t next);  // the caller's, for rows of W that lie one behind the other
#endif
static OUTLINE void product(size_t M, size_t N, size_t K, const real *A, size_t row, size_t column, const real *panels,
                           int add, real *C, size_t next) {
#ifdef SBRT_BLAS
    sbrt_product(M, N, K, A, row, column, panels, add, C, next);
#else
    const size_t deep = 256;
    for (size_t j = 0, width; j < N; j += width) {
        width = panel_width(N - j);
        const size_t together = evenly(M, width == LANES ? 8 : ROWS);
        for (size_t k = 0; k < K || k == 0; k += deep) {
            const size_t depth = K - k < deep ? K - k : deep;
            for (size_t r = 0; r < M; r += together) {
                const size_t rows = M - r < together ? M - r : together;
                const real *a = A + r*row + k*column;
                real *c = C + r*next + j;
                const int more = add || k > 0;
                if (N - j < width) partial_kernel(N - j, rows, more, depth, a, row, column, panels, c, next);
                else if (width == LANES) slim_kernel(rows, more, depth, a, row, column, panels, c, next);
                else wide_kernel(rows, more, depth, a, row, column, panels, c, next);
            }
            panels += depth*width;
        }
    }
#endif
}

// C += Aᵀ B for K rows of A (M columns) and of B (N columns), whose elements lie one behind the other, rows so far
// apart; the panels of 128 rows of B at a time take the room. Where many panels read a strip of A, it is copied into
// the first cache.
#ifdef SBRT_BLAS
void sbrt_gradient(size_t M, size_t N, size_t K, const real *A, size_t row_of_A, const real *B, size_t row_of_B,
                   real *C, size_t next);  // the caller's
#endif
static OUTLINE void gradient(size_t M, size_t N, size_t K, const real *A, size_t row_of_A, const real *B,
                            size_t row_of_B, real *C, size_t next, real *room) {
#ifdef SBRT_BLAS
    sbrt_gradient(M, N, K, A, row_of_A, B, row_of_B, C, next);
    (void)room;
#else
    real strip[128*8];
    const size_t deep = 128, together = evenly(M, ROWS);
    for (size_t k = 0; k < K; k += deep) {
        const size_t depth = K - k < deep ? K - k : deep;
        pack(depth, N, B + k*row_of_B, row_of_B, 1, room);
        if (N < 8*WIDE*LANES) product(M, N, depth, A + k*row_of_A, 1, row_of_A, room, 1, C, next);
        else for (size_t r = 0; r < M; r += together) {
            const size_t rows = M - r < together ? M - r : together;
            for (size_t q = 0; q < depth; q++)
                for (size_t i = 0; i < rows; i++) strip[q*rows + i] = A[(k + q)*row_of_A + r + i];
            product(rows, N, depth, strip, 1, rows, room, 1, C + r*next, next);
        }
    }
#endif
}

// Note in `failed` the first statement that has no value: its number, the step, the sample, and by how much it moved.
static INLINE void tell(real *failed, size_t number, size_t step, size_t sample, real moved) {
    if (failed && failed[0] == 0) {
        failed[0] = (real)number;
        failed[1] = (real)step;
        failed[2] = (real)sample;
        failed[3] = moved;
    }
}

// The factors L and U of a matrix F of n rows in its place, L without the ones of its diagonal, with the row that came
// to each place: the largest one of its column (Golub and Van Loan 2013, algorithm 3.4.1).
static OUTLINE void factor(size_t n, real *F, real *pivots, real *failed, size_t number, size_t step, size_t sample) {
    for (size_t k = 0; k < n; k++) {
        size_t p = k;
        for (size_t i = k + 1; i < n; i++) if (ABS(F[i*n + k]) > ABS(F[p*n + k])) p = i;
        pivots[k] = (real)p;
        if (p != k) for (size_t j = 0; j < n; j++) {
            const real moved = F[k*n + j];
            F[k*n + j] = F[p*n + j];
            F[p*n + j] = moved;
        }
        if (F[k*n + k] == 0) {
            tell(failed, number, step, sample, 0);
            continue;
        }
        for (size_t i = k + 1; i < n; i++) {
            const real l = F[i*n + k] /= F[k*n + k];
            INDEPENDENT for (size_t j = k + 1; j < n; j++) F[i*n + j] -= l*F[k*n + j];
        }
    }
}

// The solution of A X = B for `columns` columns in the place of B, by the factors of A.
static OUTLINE void solve(size_t n, size_t columns, const real *F, const real *pivots, real *X) {
    for (size_t k = 0; k < n; k++) {
        const size_t p = (size_t)pivots[k];
        if (p != k) for (size_t c = 0; c < columns; c++) {
            const real moved = X[k*columns + c];
            X[k*columns + c] = X[p*columns + c];
            X[p*columns + c] = moved;
        }
    }
    for (size_t i = 1; i < n; i++)
        for (size_t k = 0; k < i; k++)
            INDEPENDENT for (size_t c = 0; c < columns; c++) X[i*columns + c] -= F[i*n + k]*X[k*columns + c];
    for (size_t i = n; i-- > 0;) {
        for (size_t k = i + 1; k < n; k++)
            INDEPENDENT for (size_t c = 0; c < columns; c++) X[i*columns + c] -= F[i*n + k]*X[k*columns + c];
        for (size_t c = 0; c < columns; c++) X[i*columns + c] /= F[i*n + i];
    }
}

// The lower triangular L with L Lᵀ = A in the place of A, of which the lower triangle is read (Golub and Van Loan
// 2013, algorithm 4.2.1).
static OUTLINE void cholesky(size_t n, real *A, real *failed, size_t number, size_t step, size_t sample) {
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++) {
            real sum = A[i*n + j];
            for (size_t k = 0; k < j; k++) sum -= A[i*n + k]*A[j*n + k];
            if (i == j && !(sum > 0)) tell(failed, number, step, sample, 0);
            A[i*n + j] = i == j ? SQRT(sum) : sum/A[j*n + j];
        }
        for (size_t j = i + 1; j < n; j++) A[i*n + j] = 0;
    }
}

static OUTLINE void determinant(size_t n, const real *F, const real *pivots, real *found) {
    real product = 1;
    for (size_t k = 0; k < n; k++) product *= (size_t)pivots[k] == k ? F[k*n + k] : -F[k*n + k];
    *found = product;
}

static OUTLINE void log_determinant(size_t n, const real *F, const real *pivots, real *found) {
    real sum = 0;
    for (size_t k = 0; k < n; k++) sum += MATH(log)(ABS(F[k*n + k]));
    *found = sum;
    (void)pivots;
}

static OUTLINE void sign_of_determinant(size_t n, const real *F, const real *pivots, real *found) {
    real sign = 1;
    for (size_t k = 0; k < n; k++) {
        const real x = (size_t)pivots[k] == k ? F[k*n + k] : -F[k*n + k];
        sign *= x > 0 ? 1 : x < 0 ? -1 : x;
    }
    *found = sign;
}

// C = A B for matrices of n rows and columns.
static OUTLINE void times(size_t n, const real *A, const real *B, real *C) {
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) C[i*n + j] = 0;
        for (size_t k = 0; k < n; k++)
            INDEPENDENT for (size_t j = 0; j < n; j++) C[i*n + j] += A[i*n + k]*B[k*n + j];
    }
}

// The exponential of A in its place, by the approximant of degree 13 of A/2^s, which is squared s times (Higham 2005,
// "The scaling and squaring method for the matrix exponential revisited", algorithm 2.3). The room has n (6 n + 1)
// numbers.
static OUTLINE void exponential(size_t n, real *A, real *room) {
    static const real c[] = {
        (real)64764752532480000.0, (real)32382376266240000.0, (real)7771770303897600.0, (real)1187353796428800.0,
        (real)129060195264000.0, (real)10559470521600.0, (real)670442572800.0, (real)33522128640.0, (real)1323241920.0,
        (real)40840800.0, (real)960960.0, (real)16380.0, (real)182.0, (real)1.0};
    const size_t all = n*n;
    real *A2 = room, *A4 = A2 + all, *A6 = A4 + all, *U = A6 + all, *V = U + all, *more = V + all, *pivots = more + all;
    real norm = 0;
    for (size_t j = 0; j < n; j++) {
        real sum = 0;
        for (size_t i = 0; i < n; i++) sum += ABS(A[i*n + j]);
        norm = norm > sum ? norm : sum;
    }
    int squares = 0;
    for (; norm > (real)5.371920351148152 && norm < INFINITY; norm /= 2) squares++;
    const real part = MATH(ldexp)(1, -squares);
    for (size_t i = 0; i < all; i++) A[i] *= part;
    times(n, A, A, A2);
    times(n, A2, A2, A4);
    times(n, A2, A4, A6);
    for (size_t i = 0; i < all; i++) more[i] = c[13]*A6[i] + c[11]*A4[i] + c[9]*A2[i];
    times(n, A6, more, V);
    for (size_t i = 0; i < all; i++) V[i] += c[7]*A6[i] + c[5]*A4[i] + c[3]*A2[i] + (i % (n + 1) == 0 ? c[1] : 0);
    times(n, A, V, U);
    for (size_t i = 0; i < all; i++) more[i] = c[12]*A6[i] + c[10]*A4[i] + c[8]*A2[i];
    times(n, A6, more, V);
    for (size_t i = 0; i < all; i++) V[i] += c[6]*A6[i] + c[4]*A4[i] + c[2]*A2[i] + (i % (n + 1) == 0 ? c[0] : 0);
    for (size_t i = 0; i < all; i++) {
        more[i] = V[i] - U[i];
        A[i] = V[i] + U[i];
    }
    factor(n, more, pivots, NULL, 0, 0, 0);
    solve(n, n, more, pivots, A);
    for (; squares > 0; squares--) {
        times(n, A, A, more);
        for (size_t i = 0; i < all; i++) A[i] = more[i];
    }
}

static OUTLINE void lower(size_t n, real *A) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) A[i*n + j] = 0;
}

static OUTLINE void lower_halved(size_t n, real *A) {
    lower(n, A);
    for (size_t i = 0; i < n; i++) A[i*n + i] /= 2;
}

// Note where an entry moved the most.
static INLINE void note_change(const real *moved, size_t step, size_t sample, real *change, real *place) {
    if (*change == *change && !(*moved <= *change)) {
        *change = *moved;
        place[0] = (real)step;
        place[1] = (real)sample;
    }
}

// Whether no entry moved by more than the tolerance, with `relative` a part of the largest one, or by more than what
// rounding moves; where the last round still moves more it is told.
static INLINE int settled(const real *change, const real *extent, real tolerance, int relative, size_t round,
                          size_t most, const real *place, real *failed, size_t number) {
    const real unit = 32/(real)(sizeof(real) == sizeof(float) ? 0x1p23 : 0x1p52);
    const real limit = *extent*(relative && tolerance > unit ? tolerance : unit);
    if ((!relative && *change <= tolerance) || (*change <= limit && limit < INFINITY)) return 1;
    if (round + 1 == most) tell(failed, number, (size_t)place[0], (size_t)place[1], *change);
    return 0;
}

#endif
