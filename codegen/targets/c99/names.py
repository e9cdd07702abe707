"""Names in C: those of the user in ASCII, none that C, C++ or math.h has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from symbptt.codegen.targets.c99.functions import defined, macros
from symbptt.equations.notation.names import in_ascii
from symbptt.ir.naming import unique

KEYWORDS = [
    "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch", "char",
    "class", "compl", "const", "const_cast", "constexpr", "continue", "decltype", "default", "delete", "do", "double",
    "dynamic_cast", "else", "enum", "explicit", "export", "extern", "false", "final", "float", "for", "friend",
    "goto", "if", "inline", "int", "long", "mutable", "namespace", "new", "noexcept", "not", "not_eq", "nullptr",
    "operator", "or", "or_eq", "override", "private", "protected", "public", "register", "reinterpret_cast",
    "requires", "restrict", "return", "short", "signed", "sizeof", "static", "static_assert", "static_cast", "struct",
    "switch", "template", "this", "thread_local", "throw", "true", "try", "typedef", "typeid", "typename", "typeof",
    "typeof_unqual", "union", "unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while", "xor", "xor_eq",
    "concept", "consteval", "constinit", "co_await", "co_return", "co_yield", "char8_t", "char16_t", "char32_t",
    "import", "module",
]  # fmt: skip
"""The keywords of C up to C23 and of C++, which may read the header."""

LIBRARY = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign", "cos", "cosh", "erf",
    "erfc", "exp", "exp2", "expm1", "fabs", "fdim", "floor", "fma", "fmax", "fmin", "fmod", "frexp", "hypot", "ilogb",
    "ldexp", "lgamma", "llrint", "llround", "log", "log10", "log1p", "log2", "logb", "lrint", "lround", "modf", "nan",
    "nearbyint", "nextafter", "nexttoward", "pow", "remainder", "remquo", "rint", "round", "scalbln", "scalbn", "sin",
    "sinh", "sqrt", "tan", "tanh", "tgamma", "trunc", "j0", "j1", "jn", "y0", "y1", "yn", "gamma", "signgam", "abs",
    "labs", "llabs", "div", "free", "malloc", "calloc", "realloc", "exit", "abort", "system", "time", "clock",
    "index", "rindex", "signal", "memcpy", "read", "write", "open", "close", "main",
]  # fmt: skip
"""The functions of math.h, of which those for float end with f and those for long double with l, and others that compilers
know unasked."""

MACROS = [
    "NULL", "INFINITY", "NAN", "HUGE_VAL", "HUGE_VALF", "HUGE_VALL", "I", "SIZE_MAX", "PTRDIFF_MAX", "EOF", "errno",
    "assert", "complex", "imaginary", "unix", "linux", "i386", "size_t", "ptrdiff_t", "float_t", "double_t", "real",
    "isnan", "isinf", "isfinite", "isnormal", "signbit", "fpclassify", "isgreater", "isless", "isunordered",
]  # fmt: skip

OWN = [
    "sizes", "given", "run", "cotangents", "gradients", "workspace", "tape", "fits", "forward", "backward", "TINY", "OR_1", "block_of", "K",
]  # fmt: skip
"""Names that functions of the target use themselves."""

STATUS = ("DONE", "WRONG_SIZES", "MISSING_ARRAY", "WRONG_INDEX")
"""The endings of the codes that the functions return."""

FIELDS = frozenset((*KEYWORDS, *MACROS, *macros(), "TINY", "tape"))
"""The names that no field of a struct may have: they have a namespace of their own, but for keywords and macros."""

RESERVED = FIELDS | frozenset([*LIBRARY, *(f"{name}{end}" for name in LIBRARY for end in "fl"), *OWN, *defined()])
"""The names that no variable of a function may have."""


def c_name(name: str) -> str:
    """Return a Python name as letters, digits and underscores that C takes for a name, none of those that begin with an
    underscore, which belong to the compiler."""
    text = "".join(x if x.isascii() and (x.isalnum() or x == "_") else "_" for x in in_ascii(name)).lstrip("_")
    return text if text and not text[0].isdigit() else f"v{text}"


def header_names(name: str) -> frozenset[str]:
    """Return the macros, codes, types and functions that the header of a cell has, by the cell's name in C.

    A macro reaches into structs and functions: a parameter U_H of a cell called u would vanish.
    """
    types = ("real", "sizes", "given", "run", "cotangents", "gradients")
    functions = ("tape_bytes", "workspace_bytes", "forward", "backward")
    macros = (f"{name.upper()}_{end}" for end in ("H", "DOUBLE", *STATUS))
    return frozenset((*macros, *(f"{name}_{end}" for end in (*types, *functions))))


def named(names: Iterable[str], taken: Iterable[str]) -> Mapping[str, str]:
    """Return the C name of each name, none of them twice and none that is taken."""
    used, found = set(taken), dict[str, str]()
    for name in dict.fromkeys(names):
        found[name] = unique(c_name(name), used)
        used.add(found[name])
    return found
