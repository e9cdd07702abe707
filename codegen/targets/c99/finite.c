
/* What the calls of all cells ask: which of some arrays has a number that is not finite. A sum of differences x - x is no question
 * at each number, and neither it nor the loop of a block waits for another one.
 */
#define UNFINITE(name, type)                                                             \
    size_t name(size_t count, const size_t *lengths, const void *const *arrays) {        \
        for (size_t i = 0; i < count; i++) {                                             \
            const type *x = arrays[i];                                                   \
            int found = 0;                                                               \
            for (size_t j = 0; j < lengths[i]; j++) found |= !(x[j] - x[j] == 0);        \
            if (found) return i;                                                         \
        }                                                                                \
        return count;                                                                    \
    }

UNFINITE(unfinite_float, float)
UNFINITE(unfinite_double, double)
