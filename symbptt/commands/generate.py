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

Language = Annotated[
    str,
    typer.Option(
        "--target",
        help="numpy: a module; c: a C99 source, with -o its header beside it; torch, jax: a module of native operations.",
    ),
]
Out = Annotated[Path | None, typer.Option("-o", "--output", show_default=False, help="File to write.")]


def generate(
    target: Target, language: Language = "numpy", truncation: Truncation = "", memory: Memory = "all",
    clip_adjoint: ClipAdjoint = None, const: Consts = None, output: Out = None, force: Force = False,
) -> None:  # fmt: skip
    """Write the forward and the backward pass of a cell as a NumPy module, as C, or as a module for torch or JAX.

    A target that lacks an option refuses it by name: C has neither truncation nor clipping, and only NumPy modules have --memory.
    """
    options = compile_options(truncation, memory, clip_adjoint, const)
    writers = {"numpy": write_numpy, "c": write_c, "torch": write_torch, "jax": write_jax}
    if language not in writers:
        raise ArgumentError(f"--target is numpy, c, torch or jax, got {language!r}")
    writers[language](target, options, output, force)


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
