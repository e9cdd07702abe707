"""What each module for torch carries beside the sweeps of its cell: the loop over steps, the function with its derivative, the net."""

from functools import partial
from typing import Any

import torch

from symbptt.codegen.frameworks.arguments import ArgumentError, _given, _parted, _weights
from symbptt.codegen.frameworks.cell import OUTPUTS, STATES, _backward, _forward, _kept
from symbptt.codegen.frameworks.masks import _at, _like
from symbptt.codegen.frameworks.steps import _called


def run(params, inputs=None, state=None, *, lengths=None, reset=None, steps=None):
    """Return the states after each step and the outputs, (T, B, ...), and the last states, (B, ...): dicts, differentiable as often
    as needed.

    `params`, `inputs` (T, B, ...) and `state` (B, ...) are dicts by name; a state that is not given is what the cell says, or zero.
    From its length on a sample keeps its state, and its outputs are zero; where `reset` (T, B) is true, the state returns to the
    initial one before that step. A cell without inputs takes `steps`, and B from a state.
    """
    return _called(params, inputs, state, lengths, reset, steps)


def _recurrence(lead, active, reset, index, params, inputs, state):
    """Return the states behind all steps and the outputs; the way back is the derived one."""
    found = _Recurrence.apply(*lead, active, reset, index, *params, *inputs, *state)
    return found[: len(STATES)], found[len(STATES) :][: len(OUTPUTS)]


def _data(name, value):
    """Return an argument, which is a tensor."""
    if not isinstance(value, torch.Tensor):
        raise ArgumentError(
            f"{name}: a tensor is expected, got {type(value).__name__}\n  write torch.as_tensor({name})"
        )
    return value


def _mask(value, given):
    return torch.as_tensor(value, device=next(iter(given.values())).device)


def _constant(value, like):
    return torch.tensor(value, dtype=like.dtype, device=like.device)


def _broadcast(x, shape):
    return x.expand(shape)


def _index(x):
    return x.long()


def _is_float(x):
    return x.is_floating_point()


def _is_integer(x):
    return not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)


def _is_truth(x):
    return x.dtype == torch.bool


def _has_values(x):
    """Answer whether values can be looked at: a program that is compiled or mapped knows none."""
    return not (torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack())


def _where(condition, x, other):
    return torch.where(condition, x, other)


def _unmoved(x):
    return x.detach()


def _range(n, like):
    return torch.arange(n, device=like.device)


def _joined(parts):
    return torch.cat(parts)


def _linear(a, b, back):
    """Return x_t = a_t x_{t-1} + b_t from zero on along the axis of steps; `back`: x_t = a_t x_{t+1} + b_t from the last on.

    Steps are joined to pairs, pairs to fours, up to a window. Then each window follows from the one before.
    """
    if back:
        return _linear(a.flip(0), b.flip(0), False).flip(0)
    T, window = len(b), _window(b)
    more = -T % window
    if more:
        a, b = (torch.cat((x, x.new_zeros((more, *x.shape[1:])))) for x in (a, b))
    a, b = (x.unflatten(0, (len(b) // window, window)) for x in (a, b))
    joined = 1
    while joined < window:
        b = torch.cat((b[:, :joined], torch.addcmul(b[:, joined:], a[:, joined:], b[:, :-joined])), 1)
        a = torch.cat((a[:, :joined], a[:, joined:] * a[:, :-joined]), 1)
        joined *= 2
    x, begins = b.new_zeros(b.shape[2:]), []
    for last, end in zip(a[:, -1].unbind(0), b[:, -1].unbind(0)):
        begins.append(x)
        x = torch.addcmul(end, last, x)
    return torch.addcmul(b, a, torch.stack(begins).unsqueeze(1)).flatten(0, 1)[:T] if T else b.flatten(0, 1)


def _window(b):
    """Return how many steps are joined, a power of two: all on an accelerator, on a CPU so many as stay in its cache."""
    most = len(b) if b.device.type != "cpu" else min(len(b), 2**13 // max(1, b[:1].numel() * b.element_size()))
    return 1 << max(most, 1).bit_length() - 1


def _rows(x, lead):
    return x.reshape(*x.shape[:lead], x.shape[lead:].numel())


def _greatest(rows):
    return torch.cat(rows, -1).abs().amax(-1)


class _Recurrence(torch.autograd.Function):
    """All steps with the derived way back, which is itself made of operations that torch can differentiate."""

    generate_vmap_rule = True

    @staticmethod
    def forward(T, B, active, reset, index, *arrays):
        params, inputs, state = _parted(arrays)
        scan = partial(_scan, active=active, reset=reset)
        after, outputs, kept = _forward(params, inputs, state, T, B, scan)
        found: list[Any] = []
        for x in (*after, *outputs, *kept):
            # What is an argument itself, or stands in two places, must be another tensor for torch, which tells cotangents apart by it.
            found.append(x.view_as(x) if any(x is other for other in (*arrays, *found)) else x)
        return tuple(found)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.lead = inputs[:2]
        ctx.mark_non_differentiable(*output[len(STATES) + len(OUTPUTS) :])
        ctx.save_for_backward(*inputs[3:], *output)

    @staticmethod
    def backward(ctx, *cotangents):
        (T, B), (reset, index, *saved) = ctx.lead, ctx.saved_tensors
        number, ends = len(_weights()) + len(_given()) + len(STATES), len(STATES) + len(OUTPUTS)
        if not T:
            return (None,) * 5 + tuple(torch.zeros_like(x) for x in saved[:number])
        params, inputs, state = _parted(saved[:number])
        after, outputs = tuple(saved[number:][: len(STATES)]), tuple(saved[number:][len(STATES) : ends])
        before = tuple(_before(x, v, reset, index) for x, v in zip(state, after))
        kept = tuple(saved[number + ends :])
        if torch.is_grad_enabled():
            # To differentiate the way back, what it reads must depend on arguments and states in the eyes of torch.
            kept = _kept(params, inputs, before, T, B)
        scan = partial(_scan_back, cotangents=cotangents[: len(STATES)], reset=reset)
        found = _backward(params, inputs, before, after, outputs, kept, cotangents[len(STATES) : ends], T, B, scan)
        return (None, None, None, None, None, *found[0], *found[1], *found[2])


def _before(initial, after, reset, index):
    """Return a state before each step."""
    found = torch.cat((initial.unsqueeze(0), after))[: len(after)]
    if reset is not None:
        found = torch.where(_like(reset, found), initial, found)
    return found if index is None else _at(found, index)


def _scan(step, initial, given, T, *, active, reset):
    """Return the states behind each step and what steps send out."""
    rows = [x.unbind(0) for x in given]
    carry, start, after, sent = initial, initial, [], []
    for t in range(T):
        if reset is not None:
            carry = tuple(torch.where(_like(reset[t], x), x, v) for x, v in zip(initial, carry))
        if active is not None:
            carry = tuple(torch.where(_like(active[t], v), v, w) for v, w in zip(carry, start))
        start = carry
        carry, found = step(carry, tuple(x[t] for x in rows))
        after.append(carry)
        sent.append(found)
    if not T:
        # A step on nothing tells the shapes.
        after, sent = ([found] for found in step(initial, tuple(x.new_zeros(x.shape[1:]) for x in given)))
        return _stacked(after, 0), _stacked(sent, 0)
    return _stacked(after), _stacked(sent)


def _scan_back(step, given, *, cotangents, reset):
    """Return the gradients of the initial states, and what steps send out, from the last step to the first."""
    rows = [x.unbind(0) for x in given]
    direct = [x.unbind(0) for x in cotangents]
    T = len(cotangents[0])
    carry, first, sent = (), (), []
    for t in reversed(range(T)):
        arrived = tuple(x[t] for x in direct)
        carry = arrived if not carry else tuple(a + b for a, b in zip(carry, arrived))
        carry, found = step(carry, tuple(x[t] for x in rows))
        sent.append(found)
        if reset is not None:
            nothing = [torch.zeros_like(v) for v in carry]
            away = tuple(torch.where(_like(reset[t], v), v, w) for v, w in zip(carry, nothing))
            carry = tuple(torch.where(_like(reset[t], v), w, v) for v, w in zip(carry, nothing))
            first = tuple(a + b for a, b in zip(first, away)) if first else away
    total = tuple(a + b for a, b in zip(carry, first)) if first else carry
    return total, _stacked(sent[::-1])


def _stacked(rows, length=None):
    """Return what steps sent out as tensors of all steps."""
    return tuple(torch.stack(column)[:length] for column in zip(*rows))


def _softplus(x):
    return torch.logaddexp(x, torch.zeros_like(x))


def _padded(x, spans, shape):
    """Return zeros with a tensor at places that are so many from a start on with a step, along each of the last axes."""
    for axis, (start, length, step) in enumerate(spans, x.dim() - len(spans)):
        at = torch.arange(length, device=x.device) * step + start
        x = x.new_zeros((*x.shape[:axis], shape[axis], *x.shape[axis + 1 :])).index_copy(axis, at, x)
    return x


def _gathered(table, index, axis):
    """Return elements of a table at an index along an axis, which goes."""
    return torch.take_along_dim(table, index.unsqueeze(axis), axis).squeeze(axis)


def _scattered(x, index, axis, shape):
    """Return zeros with elements added at an index along a new axis."""
    return x.new_zeros(shape).scatter_add(axis, index.unsqueeze(axis), x.unsqueeze(axis))


def _collected(x, index, axis, shape):
    """Return one table in which all steps and samples add their elements at an index along an axis."""
    lead = 2
    if index.dim() == lead:
        table = x.new_zeros((shape[axis], *shape[:axis], *shape[axis + 1 :]))
        return table.index_add(0, index.reshape(-1), x.reshape(-1, *x.shape[lead:])).movedim(0, axis)
    return _scattered(x, index, axis + lead, (*x.shape[:lead], *shape)).sum((0, 1))


def _halved(a):
    """Return the lower triangle of matrices with half its diagonal."""
    return torch.tril(a) - torch.diag_embed(torch.diagonal(a, dim1=-2, dim2=-1)) / 2
