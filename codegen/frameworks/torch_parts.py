"""What each module for torch carries beside the sweeps of its cell: the loop over steps, the function with its derivative, the net."""

from functools import partial

import torch

from symbptt.codegen.frameworks.arguments import ArgumentError, _check_arrays, _check_mask, _check_names, _lead, _length
from symbptt.codegen.frameworks.cell import (
    CONSTS,
    FIRST,
    INDICES,
    INPUTS,
    OUTPUTS,
    PARAMS,
    SIZES,
    STARTS,
    STATES,
    _backward,
    _forward,
    _kept,
    _shapes,
    _sizes,
)


def run(params, inputs=None, state=None, *, lengths=None, reset=None, steps=None):
    """Return the states after each step and the outputs, (T, B, ...), and the last states, (B, ...): dicts, differentiable as often
    as needed.

    `params`, `inputs` (T, B, ...) and `state` (B, ...) are dicts by name; a state that is not given is what the cell says, or zero.
    From its length on a sample keeps its state, and its outputs are zero; where `reset` (T, B) is true, the state returns to the
    initial one before that step. A cell without inputs takes `steps`, and B from a state.
    """
    given, T, B = _arguments(params, {} if inputs is None else inputs, {} if state is None else state, steps)
    lengths, reset = _masks(lengths, reset, T, B)
    if lengths is None and reset is None:
        arrays, active, index = [given[k] for k in (*PARAMS, *INPUTS, *STATES)], None, None
    else:
        arrays, active, reset, index = _masked(given, T, B, lengths, reset)
    found = _Recurrence.apply(T, B, active, reset, index, *arrays)
    states = dict(zip(STATES, found, strict=False))
    outputs = dict(zip(OUTPUTS, found[len(STATES) :], strict=False))
    if index is not None:
        # A sample that has ended keeps the state that it had at its end; one that never began keeps the initial one.
        began = lengths.to(index.device) > 0
        states = {k: torch.where(_like(began, given[k]), _at(v, index), given[k]) for k, v in states.items()}
        outputs = {k: torch.where(_like(active, v), v, torch.zeros_like(v)) for k, v in outputs.items()}
    return states, outputs, {k: v[-1] if T else given[k] for k, v in states.items()}


class Net(torch.nn.Module):
    """The cell over all steps: the parameters by name, and a forward pass whose derivative is the derived one.

    `outputs, final = net(inputs, state=None, lengths=None, reset=None, steps=None)`: `outputs` has the states after each step and the
    outputs of the cell by name, (T, B, ...), `final` the states after the last step, (B, ...). Of one input the tensor may stand alone.
    Under autocast all is computed in the type of autocast.
    """

    def __init__(self, sizes, seed=0, device=None, dtype=None):
        super().__init__()
        for name in SIZES:
            if name not in sizes:
                raise ArgumentError(f"the size {name!r} is missing\n  it has {', '.join(SIZES)}")
        self.sizes = {name: sizes[name] for name in SIZES}
        shapes = _shapes(**self.sizes)
        generator = torch.Generator().manual_seed(seed)
        for name in PARAMS:
            value = _first(name, shapes[name], generator).to(device, dtype or torch.get_default_dtype())
            if name in CONSTS:
                self.register_buffer(_attribute(name), value)
            else:
                self.register_parameter(_attribute(name), torch.nn.Parameter(value))

    def weights(self):
        """Return the parameters by the names that the cell has for them."""
        return {name: getattr(self, _attribute(name)) for name in PARAMS}

    def forward(self, inputs=None, state=None, *, lengths=None, reset=None, steps=None):
        if isinstance(inputs, torch.Tensor):
            if len(INPUTS) != 1:
                raise ArgumentError(f"inputs: a dict of {', '.join(INPUTS)} is expected, got one tensor")
            inputs = {INPUTS[0]: inputs}
        for what, found in (("inputs", inputs), ("state", state)):
            if found is not None and not hasattr(found, "items"):
                raise ArgumentError(f"{what}: a dict of tensors by name is expected, got {type(found).__name__}")
        params, inputs, state = self.weights(), dict(inputs or {}), dict(state or {})
        device = next(iter([*params.values(), *inputs.values(), *state.values()])).device.type
        if torch.is_autocast_enabled(device):
            params, inputs, state = (_cast(x, torch.get_autocast_dtype(device)) for x in (params, inputs, state))
        with torch.autocast(device, enabled=False):
            states, outputs, final = run(params, inputs, state, lengths=lengths, reset=reset, steps=steps)
        return {**states, **outputs}, final


def _attribute(name):
    """Return the attribute of a parameter: its name, without points, and without those that a module has."""
    plain = name.replace(".", "_")
    return f"{plain}_" if hasattr(torch.nn.Module, plain) or plain in ("sizes", "training", "weights") else plain


def _cast(tensors, dtype):
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}


def _first(name, shape, generator):
    """Return a first value: a number everywhere, an orthogonal matrix, or a uniform variable between Glorot's limits."""
    if FIRST[name] == "orthogonal":
        q, r = torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64))
        return q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1)).unsqueeze(-2)
    if FIRST[name] == "uniform":
        limit = (6 / (shape[-1] + shape[-2])) ** 0.5
        return (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * limit
    return torch.tensor(FIRST[name], dtype=torch.float64).expand(shape).clone()


def _arguments(params, inputs, state, steps):
    """Return the arguments by name, the states that lack among them, T and B.

    Raises: ArgumentError for what lacks, is not known, or has another shape or type.
    """
    _check_names(params, inputs, state)
    given = {**params, **inputs, **state}
    for name, value in given.items():
        if not isinstance(value, torch.Tensor):
            raise ArgumentError(
                f"{name}: a tensor is expected, got {type(value).__name__}\n  write torch.as_tensor({name})"
            )
    T, B = _lead(given, steps)
    shapes = _shapes(**_sizes(partial(_length, given)))
    like = next(given[k] for k in (*PARAMS, *STATES, *INPUTS) if k in given and k not in INDICES)
    for name in STATES:
        if name not in given:
            start = STARTS.get(name, 0.0)
            start = (
                given[start] if isinstance(start, str) else torch.tensor(start, dtype=like.dtype, device=like.device)
            )
            given[name] = start.expand(B, *shapes[name])
    _check_arrays(given, like, T, B, shapes)
    return given, T, B


def _masks(lengths, reset, T, B):
    """Return lengths and resets as tensors.

    Raises: ArgumentError for other shapes and types, and for lengths outside of 0 to T.
    """
    if lengths is not None:
        lengths = torch.as_tensor(lengths)
        kind = not (lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool)
        _check_mask("lengths", lengths, (B,), kind, "integers")
        # A program that is compiled knows no values.
        if not torch.compiler.is_compiling() and bool(((lengths < 0) | (lengths > T)).any()):
            raise ArgumentError(f"lengths: 0 to {T} steps are expected, got {lengths.tolist()}")
    if reset is not None:
        reset = torch.as_tensor(reset)
        _check_mask("reset", reset, (T, B), reset.dtype == torch.bool, "truth values")
    return lengths, reset


def _masked(given, T, B, lengths, reset):
    """Return the arguments, which samples are active and which are reset at each step, and where a sample that has ended reads."""
    arrays, device = dict(given), next(iter(given.values())).device
    active = index = None
    if lengths is not None:
        lengths, time = lengths.to(device), torch.arange(T, device=device).unsqueeze(1)
        # A sample that has ended repeats its last step, so that only values are computed that were finite before.
        active, index = time < lengths, torch.minimum(time, (lengths - 1).clamp(min=0))
        arrays.update((k, _at(given[k], index)) for k in INPUTS)
    if reset is not None:
        reset = reset.to(device) if active is None else reset.to(device) & active
    return [arrays[k] for k in (*PARAMS, *INPUTS, *STATES)], active, reset, index


def _at(x, index):
    return x[index, torch.arange(index.shape[1], device=index.device)]


def _like(mask, x):
    """Return a mask with the axes that it lacks."""
    return mask.reshape(*mask.shape, *(1,) * (x.dim() - mask.dim()))


def _parted(arrays):
    one, two = len(PARAMS), len(PARAMS) + len(INPUTS)
    return tuple(arrays[:one]), tuple(arrays[one:two]), tuple(arrays[two:])


class _Recurrence(torch.autograd.Function):
    """All steps with the derived way back, which is itself made of operations that torch can differentiate."""

    generate_vmap_rule = True

    @staticmethod
    def forward(T, B, active, reset, index, *arrays):
        params, inputs, state = _parted(arrays)
        scan = partial(_scan, active=active, reset=reset)
        after, outputs, kept = _forward(params, inputs, state, T, B, scan)
        # What is an argument itself must be another tensor for torch.
        return tuple(x.view_as(x) if any(x is a for a in arrays) else x for x in (*after, *outputs, *kept))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.lead = inputs[:2]
        ctx.mark_non_differentiable(*output[len(STATES) + len(OUTPUTS) :])
        ctx.save_for_backward(*inputs[3:], *output)

    @staticmethod
    def backward(ctx, *cotangents):
        (T, B), (reset, index, *saved) = ctx.lead, ctx.saved_tensors
        if not T:
            return (None,) * 5 + tuple(torch.zeros_like(x) for x in saved[: len(PARAMS) + len(INPUTS) + len(STATES)])
        number, ends = len(PARAMS) + len(INPUTS) + len(STATES), len(STATES) + len(OUTPUTS)
        params, inputs, state = _parted(saved[:number])
        after, outputs = tuple(saved[number:][: len(STATES)]), tuple(saved[number:][len(STATES) : ends])
        before = tuple(_before(x, v, reset, index) for x, v in zip(state, after, strict=True))
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
            carry = tuple(torch.where(_like(reset[t], x), x, v) for x, v in zip(initial, carry, strict=True))
        if active is not None:
            carry = tuple(torch.where(_like(active[t], v), v, w) for v, w in zip(carry, start, strict=True))
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
        carry = arrived if not carry else tuple(a + b for a, b in zip(carry, arrived, strict=True))
        carry, found = step(carry, tuple(x[t] for x in rows))
        sent.append(found)
        if reset is not None:
            nothing = [torch.zeros_like(v) for v in carry]
            away = tuple(torch.where(_like(reset[t], v), v, w) for v, w in zip(carry, nothing, strict=True))
            carry = tuple(torch.where(_like(reset[t], v), w, v) for v, w in zip(carry, nothing, strict=True))
            first = tuple(a + b for a, b in zip(first, away, strict=True)) if first else away
    total = tuple(a + b for a, b in zip(carry, first, strict=True)) if first else carry
    return total, _stacked(sent[::-1])


def _stacked(rows, length=None):
    """Return what steps sent out as tensors of all steps."""
    return tuple(torch.stack(column)[:length] for column in zip(*rows, strict=True))


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
