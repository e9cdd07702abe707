"""Passes from program to program, in the order in which they run."""

from symbptt.codegen.passes.accurate_slopes import sharpen
from symbptt.codegen.passes.affine_recurrence import affine
from symbptt.codegen.passes.block_products import spread
from symbptt.codegen.passes.hoist import hoist
from symbptt.codegen.passes.merge_slices import tidy
from symbptt.codegen.passes.pack_gates import pack
from symbptt.codegen.passes.rematerialize import recompute_cheap, recompute_free
from symbptt.codegen.passes.rounds_first import rounds_first
from symbptt.codegen.passes.split_coefficients import split
from symbptt.codegen.passes.stack_adjoints import join
from symbptt.codegen.passes.transpose_weights import turn
from symbptt.codegen.passes.turn_signs import turn_signs
from symbptt.codegen.program.regions import place

PASSES = (
    spread,  # first: all spellings become one
    affine,  # before sums are split and products packed: it reads the steps as the user wrote them
    hoist,  # before passes that look at sums: it gives sums that depend on no state a value of their own
    split,  # before packing: gates are alike once their coefficients are separate
    sharpen,  # after splitting, which makes the coefficients; before packing, while each function has its own argument
    pack,  # after hoisting, which has made the sums that follow a product alike
    join,  # after splitting, which leaves adjoints that are one line each
    tidy,  # after packing and stacking, which may put blocks together again
    rounds_first,  # before places are chosen: a layout alone
    turn,  # after hoisting: only products that remain in a loop need transposed weights
    turn_signs,  # after packing, which puts gates of one function side by side, and after all passes that look for equal weights
    recompute_free,  # when it is known what the backward sweep reads
    place,  # last: it only reads
)

# To spare memory is one other choice of residuals and nothing else: the same passes run before it, so that both
# kernels have the same equations.
SPARING = tuple(recompute_cheap if step is recompute_free else step for step in PASSES)
"""The passes for a kernel that spares memory."""

FOR_NUMPY = (pack, rounds_first, turn, turn_signs)
"""The passes that arrange values for NumPy's calls: gate-major layouts, and weights transposed, and of the other sign."""

# To pack gates pays for calls of NumPy; a target that writes loops reads each gate where it is. Adjoints that stand in one
# row make one product of many everywhere.
NEUTRAL = tuple(step for step in PASSES if step not in FOR_NUMPY)
"""The passes that every target uses."""

NEUTRAL_SPARING = tuple(step for step in SPARING if step not in FOR_NUMPY)
"""The same to spare memory."""

PLAIN = tuple(step for step in NEUTRAL_SPARING if step is not join)
"""The passes for a target that has loops in the place of products, and little memory: no copy of a weight or a gradient stands in a row
with others."""

NATIVE = tuple(step for step in PASSES if step not in (sharpen, rounds_first, turn, turn_signs))
"""The passes for torch and JAX: whole arrays as for NumPy, without the layouts of its memory. The slopes of saturating functions keep
the digits that these frameworks have."""
