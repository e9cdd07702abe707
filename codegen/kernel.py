"""Compiled cells: the generated module, loaded, behind `kernel.forward` and `kernel.backward`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, lru_cache
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from symbptt.autodiff.bptt import derive
from symbptt.checks import check_mapping, check_path, named
from symbptt.codegen.by_sample import sample, shares
from symbptt.codegen.c_memory import held_by_driver
from symbptt.codegen.in_c import InC, working_compiler
from symbptt.codegen.load import check_parsed, load
from symbptt.codegen.options import (
    LARGE,
    allowed_memory,
    bytes_of_memory,
    check_flag,
    check_monitor,
    check_options,
    check_target,
)
from symbptt.codegen.origin import origin_of
from symbptt.codegen.passes import NEUTRAL, NEUTRAL_SPARING, PASSES, SPARING
from symbptt.codegen.passes.still_sums import in_loops
from symbptt.codegen.plan.plan import Plan, plan_of
from symbptt.codegen.plan.written import Written
from symbptt.codegen.program.at_once import program_at_once
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.program import Program, program_of
from symbptt.codegen.program.regions import place
from symbptt.codegen.results import Grads, LossGrads, Run
from symbptt.codegen.reverse import Order, ReversedRun
from symbptt.codegen.tangents import parted, with_tangents
from symbptt.codegen.targets.numpy.cells import Printed, printed
from symbptt.codegen.targets.numpy.module import source
from symbptt.codegen.targets.numpy.stepping import stepping
from symbptt.codegen.targets.python.header import certified, digest_of_module
from symbptt.codegen.wanted import Wanted, restricted, wanted
from symbptt.equations.derived import equations_of, looped_equations_of
from symbptt.errors import ArgumentError, CellError, TargetError, counted, instead_of_cell, one_line, three_lines
from symbptt.files import check_own, write_text
from symbptt.ir.shape import names_in
from symbptt.language.cell import Cell, nearest
from symbptt.language.init import type_of
from symbptt.language.model import Model
from symbptt.language.tangent import tangent_names, tangent_of
from symbptt.language.truncation import Chunked, Window
from symbptt.notebook import folded
from symbptt.version import VERSION


class Kernel:
    """The forward and the backward pass of a cell as a loaded NumPy module, whose sweeps may be computed in C."""

    INSTEAD_OF_CELL = "write kernel.cell, or kernel.target, which is what was compiled"

    def __init__(
        self,
        target: Cell | Model,
        program: Program,
        text: str,
        truncation: Window | Chunked | None = None,
        clip_adjoint: float | None = None,
        memory: str | int = "all",
        wanted: Wanted = None,
        asked: str = "numpy",
        in_c: InC | None = None,
        reason: str = "",
    ) -> None:
        self.asked, self.in_c, self.reason = asked, in_c, reason
        self.target, self.program, self.source, self.wanted = target, program, text, wanted
        self.truncation, self.clip_adjoint, self.memory = truncation, clip_adjoint, memory
        self.cell = target if isinstance(target, Cell) else target.cell

    def __reduce__(self) -> Any:
        return _again, (self.target, self.truncation, self.clip_adjoint, self.memory, self.wanted, self.asked)

    def __repr__(self) -> str:
        if self.in_c is not None:
            return f"<kernel of {self.target.name} in C: {len(self.in_c.plain.text.splitlines())} lines>"
        return f"<kernel of {self.target.name}: {len(self.source.splitlines())} lines>"

    @property
    def backend(self) -> str:
        """What computes the sweeps: "numpy" or "c"; with `target="auto"` `.reason` says why it is NumPy."""
        return "numpy" if self.in_c is None else "c"

    @property
    def c_source(self) -> str:
        """The functions in C of calls without masks and monitors.

        Raises: ArgumentError where the kernel is one in NumPy.
        """
        if self.in_c is None:
            raise ArgumentError(
                f"the kernel of {self.target.name} is one in NumPy: its text is kernel.source\n"
                f'  write sb.compile({self.target.name}, target="c"), or sb.c_source for a file with a header'
            )
        return self.in_c.plain.text

    def _repr_html_(self) -> str:
        return folded(repr(self), self.source)

    @cached_property
    def plan(self) -> Plan:
        """What is computed where, what is stored, and what that takes in bytes."""
        head = head_of(self.target, self.wanted) if isinstance(self.target, Model) else None
        written = Written(self.source, self.program, head, self.truncation, self.clip_adjoint, self.memory != "all")
        whole = written
        if self.truncation is not None:
            parts = printed(self.program, self.clip_adjoint, False)
            text = source(self.program, VERSION, "", head, None, self.memory, parts)
            whole = replace(written, text=text, truncation=None)
        found = plan_of(written, whole, in_loops(self.cell.looped), self.memory)
        return replace(found, name=self.target.name, backend=self._told_backend())

    def _told_backend(self) -> str:
        """Return what a plan says of what computes the sweeps; nothing where NumPy was asked for."""
        if self.in_c is not None:
            return f"This kernel computes the sweeps in C ({self.reason}): calls and shares of time here are those of NumPy."
        return f"NumPy computes the sweeps, not C: {self.reason}" if self.reason else ""

    @cached_property
    def module(self) -> ModuleType:
        """The generated module, executed once; that of a kernel in C calls its sweeps."""
        return self.loaded(_file_of(self.target))

    def loaded(self, file: str) -> ModuleType:
        """Return the module, executed anew, its lines known to tracebacks by the name of a file."""
        found = load(self.source, file)
        return found if self.in_c is None else self.in_c.installed(found)

    @property
    def workspace(self) -> Any:
        """The arrays that the module keeps from call to call: `.nbytes` of at most `.limit`."""
        return self.module.WORKSPACE

    def forward(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        steps: int | None = None,
        lengths: Any = None,
        reset: Any = None,
        reset_to: Literal["initial", "start"] = "initial",
        reverse: bool = False,
    ) -> Run:
        """Return a run: `.states` and `.outputs` by name, after every step.

        Shapes: params as annotated; inputs (T, B, ...) or (T, ...), contexts among them (B, ...), or (...) for all samples; state
        (B, ...) or (...), zero where omitted.
        `lengths` (B,) freezes each sample from its length on; where `reset` (T, B) is true, the state returns to the initial one
        before that step, or with `reset_to="start"` to what the cell begins with, zero as a rule: where `state` is what the call
        before ended with, a new sequence does not begin with it. A cell without inputs takes `steps`. The run refers to params,
        inputs and state, it holds no copies: `backward` reads them, so they must not change in place before it is done.

        With `reverse` the steps are taken from the last to the first, of each sample its own; states and outputs stand at their
        steps, and `.final` has the states at the first ones. A reset then is where the next sequence begins.

        Raises: ArgumentError for what lacks, is not known, has another shape or a mixed type; by name.
        """
        call = self._call(params, inputs, state, steps=steps, lengths=lengths, reset=reset, reset_to=reset_to)
        self._check_memory(call, trains=False)
        call, order = self._in_order(call, reverse)
        run: Any = self._checked(self.module.forward, **call)
        if order is not None:
            return ReversedRun(run, order)
        # References, as the tape has them: `sb.trace_gradient` computes values anew that the tape does not keep.
        run.given = call["params"], call["inputs"], call["state"], steps
        return run

    def backward(self, run: Run, cotangents: Mapping[str, Any], *, monitor: bool = False) -> Grads:
        """Return the gradients of sum(cotangent * value): `.params`, `.inputs`, `.contexts`, `.state` by name, `.flow` with monitor.

        `.flow` has the norm of the adjoint of each state after every step, (T,): of what all losses that reach it, as a truncation
        says, send back to it together; of a reversed run in the order in which it took its steps. The sum is over all steps, with the
        values that the run has: from the length of a sample on its states are those of its last step, to which their cotangents belong,
        and its outputs are zero, whatever their cotangents are.
        It reads the params and inputs of the run, of which `forward` made no copy: change them in place only afterwards.

        Shapes: cotangents of states and outputs (T, B, ...), or (B, ...) for the last step only; an absent one is zero.

        Raises: ArgumentError for an unknown name or another shape, and where `monitor` is no bool.
        """
        check_monitor(monitor)
        if isinstance(run, ReversedRun):
            check_mapping("cotangents", cotangents, 'kernel.backward(run, {"h": ...})')
            sent = run.cotangents({k: self._plain(k, v) for k, v in self._named(cotangents).items()})
            return run.order.own_steps(self._checked(self.module.backward, run.inner, sent, monitor=monitor))
        grads: Grads = self._checked(self.module.backward, run, self._named(cotangents), monitor=monitor)
        return grads

    def value_and_grad(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        targets: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        steps: int | None = None,
        lengths: Any = None,
        reset: Any = None,
        reset_to: Literal["initial", "start"] = "initial",
        mask: Any = None,
        ignore_index: int | None = None,
        monitor: bool = False,
        reverse: bool = False,
        wrt: Any = None,
    ) -> tuple[np.floating[Any], LossGrads]:
        """Return the loss of a model and its gradients: `.params` (of cell and loss), `.inputs`, `.contexts`, `.state`, `.flow`.

        With `wrt`, "params" or a tuple of names, gradients of these parameters and inputs alone, and of the states: the call is one of
        `sb.compile(model, wrt=wrt)`, which is made at the first such call and kept.

        `.final` holds the states after the last step of each sample: the state with which the next part of a stream
        begins. A loss that counts no step, of T = 0 or lengths of 0, is 0, its mean too, and so are its gradients. With
        `reverse` the steps are taken from the last to the first, as by `forward`: a loss at the last step is one at the first, and `.flow`
        stands in the order in which the steps are taken.

        Where `mask` is false, and where a target that is an Index is `ignore_index`, a step has no loss, and a mean is that of the
        others: states run on there, and targets may be anything, NaN too. Such a call copies the targets.

        Shapes: as for `forward`; targets (T, B, ...) for a loss at every step, (B, ...) for one at the last; mask (T, B), or (B,).

        Raises: ArgumentError where the kernel is that of a cell without a loss, and as `forward` does.
        """
        if wrt is not None:
            options: dict[str, Any] = {
                "steps": steps,
                "lengths": lengths,
                "reset": reset,
                "reset_to": reset_to,
                "monitor": monitor,
            }
            options |= {"mask": mask, "ignore_index": ignore_index, "reverse": reverse}
            return self._for(wanted(self._model(), wrt)).value_and_grad(params, inputs, targets, state, **options)
        self._model()
        check_monitor(monitor)
        call = self._call(params, inputs, state, steps=steps, lengths=lengths, reset=reset, reset_to=reset_to)
        call |= {"targets": self._named(targets)} | _labels(mask, ignore_index)
        self._check_memory(call, trains=True)
        call, order = self._in_order(call, reverse)
        value, grads = self._checked(self.module.value_and_grad, **call, monitor=monitor)
        return value, grads if order is None else order.own_steps(grads)

    @cached_property
    def _for(self) -> Callable[[Wanted], Kernel]:
        """The kernels of this one's target and options with some gradients alone, each compiled once."""
        return cache(
            lambda names: _again(self.target, self.truncation, self.clip_adjoint, self.memory, names, self.asked)
        )

    def value(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        targets: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        steps: int | None = None,
        lengths: Any = None,
        reset: Any = None,
        reset_to: Literal["initial", "start"] = "initial",
        mask: Any = None,
        ignore_index: int | None = None,
        reverse: bool = False,
    ) -> np.floating[Any]:
        """Return the loss of a model alone. Steps are run piece by piece, and nothing is kept of them but the states behind each.

        Shapes: as for `value_and_grad`.

        Raises: ArgumentError as `value_and_grad` does.
        """
        self._model()
        call = self._call(params, inputs, state, steps=steps, lengths=lengths, reset=reset, reset_to=reset_to)
        call |= {"targets": self._named(targets)} | _labels(mask, ignore_index)
        loss: np.floating[Any] = self._checked(self.module.value, **self._in_order(call, reverse)[0])
        return loss

    def predict(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        steps: int | None = None,
        lengths: Any = None,
        reset: Any = None,
        reset_to: Literal["initial", "start"] = "initial",
        reverse: bool = False,
    ) -> dict[str, NDArray[Any]]:
        """Return what the loss of a model returns beside its value, by name: it ends with return {"loss": ..., "logits": z}.

        Shapes: (T, B, ...) of a loss at every step, zeros from the length of a sample on; (B, ...) of one at the last, zeros for
        samples of length 0.

        Raises: ArgumentError where the loss returns its value alone, and as `forward` does.
        """
        model = self._model()
        loss = model.loss
        if loss.predicted is None:
            raise ArgumentError(
                f"the loss {loss.name} returns its value alone, and so predicts nothing by name\n"
                '  end it with return {"loss": value, "logits": z}'
            )
        call = self._call(params, inputs, state, steps=steps, lengths=lengths, reset=reset, reset_to=reset_to)
        call, order = self._in_order(call, reverse)
        found: dict[str, NDArray[Any]] = self._checked(self.module.predict, **call)
        return found if order is None or model.at == "last" else order.of(found, found)

    @cached_property
    def _over_steps(self) -> frozenset[str]:
        """The arguments that have a value for each step."""
        target = self.target
        is_every = isinstance(target, Model) and target.at == "every"
        roles = ("input", "index", "target") if is_every else ("input", "index")
        return frozenset(a.name for a in target.arguments if a.role in roles)

    def _call(self, params: Any, inputs: Any, state: Any, **masks: Any) -> dict[str, Any]:
        """Return what functions of the module are called with, by the names of their arguments."""
        if masks.get("reset_to") == "initial":
            del masks["reset_to"]  # which modules of older files do not know
        return {"params": self._named(params), "inputs": self._named(inputs), "state": self._named(state), **masks}

    def _in_order(self, call: dict[str, Any], reverse: Any) -> tuple[dict[str, Any], Order | None]:
        """Return what the module is called with where the steps are taken from the last to the first, and that order; without `reverse`
        the call as it is.

        Raises: ArgumentError as `read` does, and where `reverse` is no truth value.
        """
        if not check_flag("reverse", reverse):
            return call, None
        groups = {k: v for k, v in call.items() if k in ("inputs", "targets")}
        _, _, T, B, _, batched = self.read(call["params"], state=call["state"], steps=call["steps"], **groups)
        active, reset = self._checked(self.module._masks, call["lengths"], call["reset"], T, B)
        order = Order(None if active is None else active.sum(0), (T, B) if batched else (T,))
        turned: dict[str, Any] = {k: order.of(v, self._over_steps) for k, v in groups.items()}
        if "mask" in call and self._model().at == "every":
            mask = self._plain("mask", call["mask"])
            # A mask of another shape is refused by the module.
            turned["mask"] = order.turned(mask) if mask.shape == order.lead else mask
        return call | turned | {"reset": order.resets(reset)}, order

    def stepper(
        self, params: Mapping[str, Any], contexts: Mapping[str, Any] | None = None
    ) -> Callable[..., tuple[dict[str, Any], dict[str, Any]]]:
        """Return what runs the cell one step at a time: `state, outputs = stepper(inputs, state)`, for generation and control.

        Weights are packed and turned once: the stepper holds a copy of the parameters, so make a new one when they change. A cell that
        has contexts is given them here, once for all steps: a new sequence has a new stepper.
        Among the outputs is what the loss of a model returns beside its value. Each call has arrays of its own.

        Shapes: inputs (B, ...) or (...); state likewise, what it begins with where omitted.

        Raises: ArgumentError for what lacks, is not known, has another shape or a mixed type; by name.
        """
        step = self._checked(self.module.stepper, self._named(params), self._named(contexts))

        def stepper(
            inputs: Mapping[str, Any] | None = None, state: Mapping[str, Any] | None = None
        ) -> tuple[dict[str, Any], dict[str, Any]]:
            """Return the states after one step, and its outputs, by name."""
            return self._checked(step, self._named(inputs), self._named(state))

        return stepper

    def jvp(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        tangents: Mapping[str, Any] | None = None,
        *,
        targets: Mapping[str, Any] | None = None,
        steps: int | None = None,
        lengths: Any = None,
        reset: Any = None,
    ) -> Any:
        """Return the values of a run, and the directional derivative of each: how it changes where arguments change by `tangents`.

        Of a cell these are two `Values`, with `.states` and `.outputs` by name; of a model, which takes `targets`, the loss and its
        derivative. `tangents` has parameters, inputs and initial states by name; what it lacks does not change. The derivative is that
        of the whole run, whatever truncation or clipping a kernel has; its equations are those of `derive(cell).forward_mode()`.

        Shapes: as for `forward`; a tangent has that of its argument.

        Raises: ArgumentError as `forward` does, and for tangents of another shape or of what has none; CellError for cells of complex
        numbers, with fixed points, or with a number of rounds that is a named size.
        """
        masks: Any = {"steps": steps, "lengths": lengths, "reset": reset}
        groups = self._with_tangents(params, inputs, state, tangents, targets, masks)
        if isinstance(self.target, Model):
            loss = self.value(params, inputs, targets, state, **masks)
            return loss, self._tangent.value(**groups, targets=targets, **masks)
        return parted(self._tangent.forward(**groups, **masks), self._dots)

    def hvp(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        targets: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        direction: Mapping[str, Any] | None = None,
        *,
        steps: int | None = None,
        lengths: Any = None,
        reset: Any = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the Hessian of the loss of a model by its parameters, times a direction: by name, each of the shape of its parameter.

        It is the gradient of the derivative of the loss along `direction`: reverse mode over the recursion of tangents, exact, in about
        the time of two to four gradients. `direction` has parameters by name; what it lacks is zero. Of a kernel with `wrt` the product
        has the parameters that it names.

        Shapes: as for `value_and_grad`; a direction has that of its parameter.

        Raises: ArgumentError as `value_and_grad` and `jvp` do, for a direction that is no parameter, and where the gradients of the kernel
        are truncated or clipped, which then are those of no function.
        """
        model = self._model()
        if self.truncation is not None or self.clip_adjoint is not None:
            option = "truncation" if self.truncation is not None else "clip_adjoint"
            raise ArgumentError(
                f"the gradients of {model.name} with {option} are those of no function, which would have a Hessian\n"
                f"  leave {option} out: sb.compile({model.name}).hvp(...)"
            )
        check_mapping(
            "direction", {} if direction is None else direction, 'direction={"U": an array of the shape of U}'
        )
        known = [a.name for a in model.arguments if a.role == "param"]
        for name in self._named(direction) or ():
            if name not in known:
                raise ArgumentError(f"{name!r} is no parameter of {model.name}" + nearest(name, known))
        masks: Any = {"steps": steps, "lengths": lengths, "reset": reset}
        groups = self._with_tangents(params, inputs, state, direction, targets, masks)
        _, grads = self._tangent.value_and_grad(**groups, targets=targets, **masks)
        return grads.params

    def grad_per_sample(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        targets: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        steps: int | None = None,
        lengths: Any = None,
        reset: Any = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the gradients of each sample's part of the loss, by parameter: over the samples they add up to those of the batch.

        Samples are run one after the other, exact for any cell and with each option of the kernel; that takes as long as so many calls
        with one sample.

        Shapes: as for `value_and_grad`, with an axis of samples; a gradient (B, ...), ... being the shape of its parameter.

        Raises: ArgumentError as `value_and_grad` does, and where there is no axis of samples.
        """
        model = self._model()
        params, inputs, targets, state = (
            {} if group is None else self._named(group) for group in (params, inputs, targets, state)
        )
        _, _, T, B, dtype, batched = self.read(params, inputs, state, steps, targets)
        if not batched:
            raise ArgumentError(
                f"gradients by sample of {model.name} need an axis of samples, and the arrays have none\n"
                "  write kernel.value_and_grad(...), which has the gradient of the one sample"
            )
        active, reset = self._checked(self.module._masks, lengths, reset, T, B)
        trained = [a for a in model.arguments if a.name in self._trained]
        found = {a.name: np.zeros((B, *np.shape(params[a.name])), type_of(a, dtype)) for a in trained}
        for b, share in enumerate(shares(model, active, T, B)):
            given = sample(model, b, inputs, targets, state, active, reset)
            _, grads = self.value_and_grad(params, steps=steps, **given)
            for name, array in found.items():
                array[b] = share * grads.params[name]
        return found

    @cached_property
    def _trained(self) -> tuple[str, ...]:
        """The parameters whose gradients the kernel gives."""
        params = (a.name for a in self.target.arguments if a.role == "param")
        return tuple(name for name in params if self.wanted is None or name in self.wanted)

    @cached_property
    def _dots(self) -> dict[str, str]:
        """The names of the tangents."""
        return tangent_names(self.target)

    @cached_property
    def _tangent(self) -> Kernel:
        """The kernel of the tangents, made when it is first asked for; it may hold as much memory as this one. Of its gradients those
        of the parameters of this one are asked for, and none of their tangents."""
        return compiled(tangent_of(self.target), Shared(), memory=self.memory, wrt=self._trained, asked=self.asked)

    def _with_tangents(
        self, params: Any, inputs: Any, state: Any, tangents: Any, targets: Any, masks: Mapping[str, Any]
    ) -> Any:
        """Return the groups of a call with the tangents of what is in them, by the names of its arguments.

        Raises: ArgumentError as `read` does, and for tangents of another shape or type, or of what has none.
        """
        # Before the tangents stand beside them, so that no one passes for an argument of the call, and what is wrong is told by the
        # names of this kernel, not by those of the kernel of tangents.
        like, _, T, B, _, batched = self.read(params, inputs, state, masks["steps"], targets)
        self._checked(self.module._masks, masks["lengths"], masks["reset"], T, B)
        if not batched:
            like = {k: np.take(v, 0, lead - 1) if (lead := self.module.LEAD.get(k)) else v for k, v in like.items()}
        # A context without an axis of samples has a tangent without one.
        contexts = [a.name for a in self.target.arguments if a.role == "context"]
        like |= {k: np.asarray(self._named(inputs)[k]) for k in contexts}
        tangents = {} if tangents is None else tangents
        check_mapping("tangents", tangents, 'tangents={"U": an array of the shape of U}')
        for name, value in tangents.items():
            self._plain(f"the tangent of {name!r}", value)
        given = {"params": params, "inputs": inputs, "state": state}
        groups = {name: {} if group is None else named(group) for name, group in given.items()}
        return with_tangents(self.target, self._dots, groups, named(tangents), like)

    def _model(self) -> Model:
        """Raises: ArgumentError where the kernel is that of a cell without a loss."""
        if not isinstance(self.target, Model):
            raise ArgumentError(f"{self.target.name} has no loss\n  compile sb.model({self.target.name}, loss)")
        return self.target

    def _check_memory(self, call: Mapping[str, Any], *, trains: bool) -> None:
        """Refuse a tape that this machine cannot hold, before it is allocated; training holds what truncation needs alone."""
        # A budget is the call's own question, which the module answers.
        if self.memory != "all":
            return  # the module refuses what the caller does not allow
        # Cheap first: the plan takes long, and few calls are large.
        inputs: Any = call["inputs"]
        steps: int | None = call["steps"]
        timed = [v for k, v in inputs.items() if k in self._over_steps] if isinstance(inputs, Mapping) else []
        lead = [getattr(v, "shape", ())[:2] for v in timed]
        said = steps if isinstance(steps, int | np.integer) else 0
        if prod(lead[0] if lead else (said,)) < LARGE:
            return
        _, sizes, T, B, dtype, _ = self.read(call["params"], inputs, call["state"], steps)
        plan = self.plan if trains else self.plan.of_all_steps
        known = {name: value for name, value in sizes.items() if name in names_in((plan.elements,))}
        needed, there = plan.bytes(T, B, dtype=dtype, **known), bytes_of_memory()
        if needed > there:
            held = plan.steps_held(T)
            fitting = max(held * there // (4 * needed), 1)
            raise ArgumentError(
                f"the values kept for {counted(held, 'step')} of {counted(B, 'sample')} take {needed:,} bytes, the machine has {there:,}\n"
                f"  train a model with truncation=sb.Chunked({fitting}, {fitting}), which holds {2 * fitting} steps"
            )

    def read(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        steps: int | None = None,
        targets: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the arguments as arrays with a batch axis, the sizes by name, T, B, the type, whether batched.

        Raises: ArgumentError as `forward` does, and for targets that are not those of the loss.
        """
        params, inputs, state, targets = map(self._named, (params, inputs, state, targets))
        return self._checked(self.module._arguments, params, inputs, state, steps, targets)

    def _plain(self, name: str, value: Any) -> NDArray[Any]:
        """Return a value as an array.

        Raises: ArgumentError for what is none, as rows of several lengths.
        """
        array: NDArray[Any] = self._checked(self.module._plain, name, value)
        return array

    @cached_property
    def _is_ascii(self) -> bool:
        return all(name.isascii() for name in (*(a.name for a in self.target.arguments), *self.cell.looped.outputs))

    def _named(self, given: Any) -> Any:
        """Return a dict by names as Python reads them, which costs time where no name has an accent."""
        # Python reads é in one form alone, and a file may have it in the other.
        return given if self._is_ascii else named(given)

    def _checked(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        # The module stands alone and has an error class of its own; callers of the library know one.
        except self.module.ArgumentError as error:
            raise ArgumentError(f"{error}\n  in a call of the kernel of {self.target.name}") from None

    def save(self, path: str | os.PathLike[str], *, force: bool = False, certificate: Any = None) -> None:
        """Write the module to a file, all of it or nothing. A file that symbptt wrote is replaced, another one with `force`.

        Of `target="auto"` it is the module in NumPy on every machine, with a compiler or without.

        The head says "not verified", or with `certificate=sb.verify(kernel).certificate` what was verified.

        Raises: ArgumentError where `path` is none; TargetError where it has another ending than .py, where the file cannot
        be written, its folder is not there, symbptt did not write the file that is there, or C was asked for with target="c".
        """
        check_path(path, "module.py")
        if self.in_c is not None and self.asked == "auto":
            plain = _again(self.target, self.truncation, self.clip_adjoint, self.memory, self.wanted, "numpy")
            return plain.save(path, force=force, certificate=certificate)
        if self.in_c is not None:
            name = self.target.name
            raise TargetError(
                three_lines(
                    f"the kernel of {name} is computed in C, and a file of it would be the module in NumPy",
                    cure=f"write sb.compile({name}).save(path) for that, or sb.c_source for C with a header",
                )
            )
        check_ending(Path(path))
        check_own([Path(path)], force, "replace it with force=True, or choose another path")
        # The head of a saved file says what was verified; that of the text in memory cannot know yet.
        text = self.source if certificate is None else certified(self.source, _lines_of(certificate, self.source))
        write_text(Path(path), text)


def _labels(mask: Any, ignore_index: Any) -> dict[str, Any]:
    """Return what a call says of which losses count, where it says anything: a module of an older file takes none of it."""
    return {k: v for k, v in (("mask", mask), ("ignore_index", ignore_index)) if v is not None}


def _lines_of(certificate: Any, source: str) -> tuple[str, ...]:
    """Raises: ArgumentError where a certificate is none, or that of a module with another text."""
    text, lines = getattr(certificate, "text", None), getattr(certificate, "lines", None)
    if not isinstance(text, str) or not isinstance(lines, tuple):
        came = type(certificate).__name__
        raise ArgumentError(
            f"certificate: that of a verification is expected, got {came}\n  write sb.verify(kernel).certificate"
        )
    if text != digest_of_module(source):
        raise ArgumentError(
            "certificate: it is that of a module with another text\n  write sb.verify(kernel).certificate"
        )
    return lines


def check_ending(path: Path) -> None:
    """Raises: TargetError where the ending of a file is that of something else than a Python module."""
    if path.suffix.lower() not in ("", ".py"):
        others = "; C is written by sb.c_source(cell), or with --target c" if path.suffix in (".c", ".h") else ""
        raise TargetError(
            three_lines(
                f"a Python module ends with .py, got {path.name!r}", cure=f"write a name such as {path.stem}.py{others}"
            )
        )


def compile(
    cell: Cell | Model,
    /,
    *,
    consts: Mapping[str, Any] | None = None,
    truncation: Window | Chunked | None = None,
    clip_adjoint: float | None = None,
    memory: Literal["all", "sqrt"] | int = "all",
    wrt: Any = None,
    target: Literal["numpy", "c", "auto"] = "numpy",
) -> Kernel:
    """Return the kernel of a cell or a model.

    `consts` replaces values of constants. `truncation` is Window(k) or Chunked(k1, k2). With `clip_adjoint` the joint
    norm of the adjoints of all states is kept at or under that limit for each sample, at every step backward in time.
    `memory`: "all" keeps what every step saves; "sqrt" the states at the borders of about sqrt(T) pieces of steps, which
    are run again; a number of bytes is what a call may hold beside its arguments: the fastest schedule that fits. Little
    more than the least runs each step up to T/2 times again (`kernel.plan.recomputed` tells); the bytes of "sqrt", once.
    `forward` returns the states and outputs of all steps, which count; `value_and_grad` holds checkpoints alone.
    `wrt`: "params", or the names of the parameters and inputs whose gradients are wanted: what the others alone need is not computed,
    and `kernel.plan` is that of what is left. The gradients of states come with every backward pass.

    `target`: "numpy"; "c" computes the sweeps and the loss in C, with the compiler of the machine, equal to rounding; "auto" is C where
    there is a compiler that works and C has all of the cell, else NumPy: `kernel.backend` says which, and `kernel.reason` why.

    Raises: ArgumentError where the target is neither, or an option is not what it takes; CellError where it is not
    written as it must be, or has what C lacks; TargetError where there is no compiler, or it does not work.
    """
    return compiled(cell, Shared(), consts, truncation, clip_adjoint, memory, wrt, target)


class Shared:
    """What the modules of a cell with different options and losses have alike, each part made when it is first asked for: the program
    behind the passes, the sweeps and their text, the equations."""

    def __init__(self) -> None:
        self.program = cache(_program)
        self.neutral = cache(_neutral)
        self.equations = cache(equations_text)
        self.head = cache(head_of)
        self.sweeps = cache(self._sweeps)
        self.stepping = cache(lambda *program: stepping(self.program(*program)))

    def _sweeps(self, cell: Cell, is_sparing: bool, names: Wanted, limit: float | None, is_pulled: bool) -> Printed:
        return printed(self.program(cell, is_sparing, names), limit, is_pulled)


def _program(cell: Cell, is_sparing: bool, names: Wanted = None) -> Program:
    return passed(cell, names, SPARING if is_sparing else PASSES)


def _neutral(cell: Cell, is_sparing: bool, names: Wanted = None) -> Program:
    return passed(cell, names, NEUTRAL_SPARING if is_sparing else NEUTRAL)


def passed(cell: Cell, names: Wanted, passes: Sequence[Callable[[Program], Program]]) -> Program:
    """Return the program of a cell with some gradients behind passes."""
    program = restricted(program_of(derive(in_loops(cell.looped))), names)
    for step in passes:
        program = step(program)
    return program


def compiled(
    target: Cell | Model,
    shared: Shared,
    consts: Mapping[str, Any] | None = None,
    truncation: Window | Chunked | None = None,
    clip_adjoint: float | None = None,
    memory: str | int = "all",
    wrt: Any = None,
    asked: str = "numpy",
) -> Kernel:
    """Return what `compile` returns, with the parts that are shared with other kernels."""
    if not isinstance(target, Cell | Model):
        raise ArgumentError(
            f"compile takes a cell or a model, got {type(target).__name__}\n  {instead_of_cell(target)}"
        )
    check_options(truncation, clip_adjoint)
    check_target(asked)
    # Options are refused before anything is derived.
    memory = allowed_memory(memory, truncation)
    target = target if consts is None else target.with_consts(consts)
    cell, is_sparing = target.cell if isinstance(target, Model) else target, memory != "all"
    names, equations = wanted(target, wrt), shared.equations(target)
    head = shared.head(target, names) if isinstance(target, Model) else None
    program = shared.program(cell, is_sparing, names)
    parts = shared.sweeps(cell, is_sparing, names, clip_adjoint, isinstance(truncation, Window))
    origin = origin_of(target, truncation, clip_adjoint, memory, names)
    steppings = shared.stepping(cell, is_sparing, names)
    in_c, reason = _in_c(asked, target, shared, names, head, truncation, clip_adjoint, memory)
    text = source(program, VERSION, equations, head, truncation, memory, parts, origin.line, steppings)
    # A text that Python does not take is a mistake of ours, which must not wait for the first call.
    check_parsed(text, _file_of(target))
    return Kernel(target, program, text, truncation, clip_adjoint, memory, names, asked, in_c, reason)


def _in_c(
    asked: str,
    target: Cell | Model,
    shared: Shared,
    names: Wanted,
    head: Head | None,
    truncation: Window | Chunked | None,
    limit: float | None,
    memory: str | int,
) -> tuple[InC | None, str]:
    """Return what a kernel computes in C; where "auto" was asked for, and C cannot, None and why.

    Raises: CellError, ArgumentError and TargetError where "c" was asked for and cannot be.
    """
    if asked == "numpy":
        return None, ""
    cell = target.cell if isinstance(target, Model) else target
    try:
        cell.check_real()
        found = InC(
            target.name,
            shared.equations(target),
            shared.neutral(cell, memory != "all", names),
            working_compiler(),
            head,
            limit,
            isinstance(truncation, Window),
            head is not None and (head.at == "every" or truncation is not None),
            held_by_driver(shared.sweeps(cell, True, names, limit, False).sweeps, head)
            if isinstance(memory, int)
            else None,
        )
        # Printed at once, so that what C lacks is told before a call.
        return found, f"{found.compiler.name}, {len(found.plain.text.splitlines())} lines of C"
    except (CellError, ArgumentError, TargetError) as error:
        if asked == "c":
            raise
        return None, one_line(error)


def equations_text(target: Cell | Model) -> str:
    """Return the equations that stand in the head of a module."""
    return (looped_equations_of(target) or equations_of(target)).as_spelt()


def _file_of(target: Cell | Model) -> str:
    """The name under which tracebacks show the module."""
    return f"<symbptt {target.name}>"


def _again(target: Any, truncation: Any, clip_adjoint: Any, memory: Any, names: Wanted, asked: Any = "numpy") -> Kernel:
    """A kernel that was pickled, compiled again."""
    return compile(target, truncation=truncation, clip_adjoint=clip_adjoint, memory=memory, wrt=names, target=asked)


def head_of(model: Model, names: Wanted = None) -> Head:
    """Return the loss of a model next to the program of its cell, with these gradients alone."""
    added = model.arguments[len(model.cell.arguments) :]
    told = model.loss.predicted
    predicted = None if told is None else program_at_once(told, told.outputs)
    step = replace(program_of(derive(model.loss.step)), wanted=names)
    kept = {
        k: id for k, id in step.params.items() if step.wants(k)
    }  # of what it reads of the cell it gives all cotangents
    return Head(place(replace(step, params=kept)), predicted, added, model.at, model.reduction)


@lru_cache(16)
def kernel_of(target: Cell | Model) -> Kernel:
    """Return the kernel of a cell or a model with the usual options, compiled once for all that is measured of it."""
    return compile(target)
