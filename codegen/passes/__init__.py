"""Passes from program to program, in the order in which they run."""

from symbptt.codegen.passes.accurate_slopes import sharpen
from symbptt.codegen.passes.affine_recurrence import affine
from symbptt.codegen.passes.block_products import spread
from symbptt.codegen.passes.hoist import hoist
from symbptt.codegen.passes.merge_slices import tidy
from symbptt.codegen.passes.pack_gates import pack
from symbptt.codegen.passes.rematerialize import recompute_cheap, recompute_free
from symbptt.codegen.passes.split_coefficients import split
from symbptt.codegen.passes.stack_adjoints import join
from symbptt.codegen.passes.transpose_weights import turn
from symbptt.codegen.program.regions import place

PASSES = (
    spread,  # first: all spellings become one
    affine,  # before what splits and packs: it reads the steps as the user wrote them
    hoist,  # before what looks at sums: it makes the sums that need no state values of their own
    split,  # before what is packed: lanes are alike when their coefficients are apart
    sharpen,  # after splitting, which makes the coefficients; before packing, while each function has its own argument
    pack,  # after hoisting, which has made the sums that follow a product alike
    join,  # after splitting, which leaves adjoints that are one line each
    tidy,  # after packing and joining, which may put together what was spread
    turn,  # after hoisting: only products that stayed in a loop are turned
    recompute_free,  # when it is known what the backward sweep reads
    place,  # last: it only reads
)

SPARING = tuple(recompute_cheap if step is recompute_free else step for step in PASSES)
"""The passes for a kernel that spares memory."""

FOR_NUMPY = (pack, join, turn)
"""The passes that arrange values for NumPy's products: gate-major layouts, and weights transposed and concatenated."""

NEUTRAL = tuple(step for step in PASSES if step not in FOR_NUMPY)
"""The passes that every target uses."""
