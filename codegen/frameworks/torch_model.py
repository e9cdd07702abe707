"""The net of a model, and its loss with the derived gradient, which modules for torch carry."""

from functools import reduce

import torch

from symbptt.codegen.frameworks.arguments import _arguments, _given
from symbptt.codegen.frameworks.cell import INDICES, LOSS_PARAMS, STATES, TARGETS, _loss, _loss_back
from symbptt.codegen.frameworks.masks import _masks
from symbptt.codegen.frameworks.model import _valued
from symbptt.codegen.frameworks.predict import _foretold
from symbptt.codegen.frameworks.torch_weights import _groups, _in_autocast, _Weights


class Net(_Weights):
    """The model: the parameters of cell and loss by name, and a forward pass to the loss whose derivative is the derived one.

    `loss, final = net(inputs, targets, state=None, lengths=None, reset=None, steps=None)`: `final` has the states after the last step,
    (B, ...), by name. Of one input, and of one target, the tensor may stand alone. Under autocast the steps are computed in the type of
    autocast, and the loss in that of the parameters. `net.predict(inputs, state=None, ...)` gives what the loss returns beside its value.
    """

    def forward(self, inputs=None, targets=None, state=None, *, lengths=None, reset=None, steps=None):
        groups = {"input": ("inputs", inputs, _given()), "target": ("targets", targets, TARGETS)}
        return self._of_loss(_valued, groups, state, lengths, reset, steps)

    def predict(self, inputs=None, state=None, *, lengths=None, reset=None, steps=None):
        """Return what the loss returns beside its value, by name: (T, B, ...) of a loss at every step, (B, ...) of one at the last."""
        return self._of_loss(_foretold, {"input": ("inputs", inputs, _given())}, state, lengths, reset, steps)

    def _of_loss(self, function, groups, state, lengths, reset, steps):
        groups, device = _groups(self, **groups, state=("state", state, STATES))
        cast = _in_autocast(groups, device)
        with torch.autocast(device, enabled=False):
            given, T, B = _arguments(cast, steps)
            lengths, reset = _masks(given, lengths, reset, T, B)
            read = {**groups["parameter"], **groups.get("target", {})}
            exact = {**given, **{k: x for k, x in read.items() if k not in INDICES}}
            return function(given, exact, lengths, reset, T, B)


def _losses(lead, params, inputs):
    """Return the loss of each step and sample, in the widest type of what it reads; its gradient is the derived one."""
    arrays = (*params, *inputs)
    dtype = reduce(torch.promote_types, (x.dtype for x in arrays if x.is_floating_point()))
    return _Loss.apply(*lead, *(x.to(dtype) if x.is_floating_point() else x for x in arrays))[0]


class _Loss(torch.autograd.Function):
    """The loss of each step and sample with the derived gradient, which is itself made of operations that torch can differentiate."""

    generate_vmap_rule = True

    @staticmethod
    def forward(T, B, *arrays):
        loss, kept = _loss(arrays[: len(LOSS_PARAMS)], arrays[len(LOSS_PARAMS) :], T, B)
        return (loss, *kept)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.lead = inputs[:2]
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs[2:], *output)
        ctx.number = len(inputs) - 2

    @staticmethod
    def backward(ctx, dloss, *nothing):
        arrays, (loss, *kept) = ctx.saved_tensors[: ctx.number], ctx.saved_tensors[ctx.number :]
        params, inputs = arrays[: len(LOSS_PARAMS)], arrays[len(LOSS_PARAMS) :]
        if torch.is_grad_enabled():
            # To differentiate the way back, what it reads must depend on arguments in the eyes of torch.
            kept = _loss(params, inputs, *ctx.lead)[1]
        found = _loss_back(params, inputs, (loss,), kept, (dloss,), *ctx.lead)
        return None, None, *found[0], *found[1]
