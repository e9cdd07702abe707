"""The command `generate`: the module of a cell or a model in one of the languages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from symbptt.commands.check import Target
from symbptt.commands.compile_options import ClipAdjoint, Consts, Memory, Truncation, compile_options
from symbptt.commands.load_target import load, load_target
from symbptt.commands.terminal import Force
from symbptt.errors import ArgumentError
from symbptt.files import check_own, write_text

EXAMPLE = '--target c --sizes "B=1,n=16" --steps 50'

Language = Annotated[
    str,
    typer.Option(
        "--target",
        help="numpy: a module; c: a C99 source, with -o its header beside it; torch, jax: a module of native operations.",
    ),
]
Sizes = Annotated[
    str,
    typer.Option(
        show_default=False,
        metavar="B=1,n=16",
        help="C for these sizes alone: no allocation, all arrays in one static arena. Of a cell or a model.",
    ),
]
Steps = Annotated[int | None, typer.Option(show_default=False, help="C for these sizes: the number of steps.")]
Backward = Annotated[bool, typer.Option(help="C for these sizes: with the backward pass, or the forward pass alone.")]
Arena = Annotated[
    bool, typer.Option("--arena", help="C for these sizes: tell the bytes of the arena and of the parameters.")
]
Out = Annotated[Path | None, typer.Option("-o", "--output", show_default=False, help="File to write.")]


def generate(
    target: Target, language: Language = "numpy", truncation: Truncation = "", memory: Memory = "all",
    clip_adjoint: ClipAdjoint = None, const: Consts = None, sizes: Sizes = "", steps: Steps = None,
    backward: Backward = True, arena: Arena = False, output: Out = None, force: Force = False,
) -> None:  # fmt: skip
    """Write the forward and the backward pass of a cell as a NumPy module, as C, or as a module for torch or JAX.

    A target that lacks an option refuses it by name: C has neither truncation nor clipping, and only NumPy modules have --memory.
    """
    options = compile_options(truncation, memory, clip_adjoint, const)
    writers = {"numpy": write_numpy, "c": write_c, "torch": write_torch, "jax": write_jax}
    if language not in writers:
        raise ArgumentError(f"--target is numpy, c, torch or jax, got {language!r}")
    if not sizes and steps is None:
        check_whole(language, backward, arena)
        writers[language](target, options, output, force)
        return
    if language != "c":
        raise ArgumentError(
            f"--sizes and --steps are for --target c, got --target {language}\n  write --target c, or leave them out"
        )
    if not sizes or steps is None:
        raise ArgumentError(f"--sizes and --steps go together, got one of them\n  write {EXAMPLE}")
    write_embedded(
        target, options | {"sizes": sizes_of(sizes), "steps": steps, "backward": backward}, arena, output, force
    )


def check_whole(language: str, backward: bool, arena: bool) -> None:
    """Raises: ArgumentError for an option that needs sizes."""
    for option, is_given in (("--no-backward", not backward), ("--arena", arena)):
        if is_given:
            raise ArgumentError(f"{option} is for C at one set of sizes\n  write {EXAMPLE} {option}")


def sizes_of(text: str) -> dict[str, Any]:
    """Return the sizes that a text lists by name; what is no integer stays the text that it is.

    Raises: ArgumentError where a part has no name or no value, or a name has two values.
    """
    found: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (x.strip() for x in part.partition("="))
        if not name or not value or name in found:
            problem = f"{name!r} has two values" if name in found else f"no size with its value in {part!r}"
            raise ArgumentError(f"--sizes: {problem}\n  write {EXAMPLE}")
        found[name] = int(value) if value.isdecimal() else value
    return found


def write_embedded(target: str, options: dict[str, Any], tells: bool, output: Path | None, force: bool) -> None:
    """Write a cell or a model as C for one set of sizes, or print it; where it `tells`, print the bytes that it takes."""
    if output is not None:
        check_own([output, load("codegen.csource").header_beside(output)], force)
    found = load("codegen.embedded").embedded_source(load_target(target, models=True), **options)
    if output is not None:
        found.save(output, force=force)
    elif not tells:
        print(found.single, end="")
    for name, count in found.arena.items() if tells else ():
        print(f"{name}: {count} bytes of arena, {found.parameters[name]} of parameters")


def write_numpy(target: str, options: dict[str, Any], output: Path | None, force: bool) -> None:
    """Write a cell or a model as a NumPy module, or print it."""
    module = load("codegen.kernel")
    if output is not None:
        # Before the work, so that a refusal costs no time.
        module.check_ending(output)
        check_own([output], force)
    kernel = module.compile(load_target(target, models=True), **options)
    if output is None:
        print(kernel.source, end="")
    else:
        kernel.save(output, force=force)


def write_c(target: str, options: dict[str, Any], output: Path | None, force: bool) -> None:
    """Write a cell as C: a source and its header, or printed both as one text."""
    c99 = load("codegen.csource")
    if output is not None:
        check_own([output, c99.header_beside(output)], force)
    source = c99.c_source(load_target(target, models=True), **options)
    if output is None:
        print(source.single, end="")
    else:
        source.save(output, force=force)


def write_torch(target: str, options: dict[str, Any], output: Path | None, force: bool) -> None:
    """Write a cell as a module for torch, or print it."""
    write_native("torch_source", target, options, output, force)


def write_jax(target: str, options: dict[str, Any], output: Path | None, force: bool) -> None:
    """Write a cell as a module for JAX, or print it."""
    write_native("jax_source", target, options, output, force)


def write_native(function: str, target: str, options: dict[str, Any], output: Path | None, force: bool) -> None:
    """Write the text that a function of `codegen.native` makes of a cell, or print it."""
    if output is not None:
        load("codegen.kernel").check_ending(output)
        check_own([output], force)
    text = getattr(load("codegen.native"), function)(load_target(target, models=True), **options)
    if output is None:
        print(text, end="")
    else:
        write_text(output, text)
