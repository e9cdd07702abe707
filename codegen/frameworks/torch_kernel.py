"""A NumPy kernel as a function of torch: what `sb.torch(..., backend="kernel")` has in the place of native sweeps."""

import torch
from torch.autograd.function import once_differentiable


def recurrence(kernel, module):
    """Return the function that a module calls for all steps, run by a kernel; `module` has the tables of the cell."""

    def named(arrays, active, reset):
        """Return the arguments of the kernel by name, and its options."""
        for x in arrays:
            if x.device.type != "cpu":
                raise module.ArgumentError(
                    f'backend="kernel" runs on the CPU, got a tensor on {x.device}\n  use the native backend there'
                )
            if x.is_floating_point() and x.dtype not in (torch.float32, torch.float64):
                raise module.ArgumentError(
                    f'backend="kernel" takes float32 and float64, got {x.dtype}\n  use the native backend for that type'
                )
        params, inputs, state = (
            {k: x.detach().numpy() for k, x in zip(names, part)}
            for names, part in zip((module._weights(), module._given(), module.STATES), module._parted(arrays))
        )
        lengths = None if active is None else active.sum(0).numpy()
        return (params, inputs, state), {"lengths": lengths, "reset": None if reset is None else reset.numpy()}

    class KernelRecurrence(torch.autograd.Function):
        """All steps of a NumPy kernel."""

        @staticmethod
        def forward(ctx, T, B, active, reset, index, *arrays):
            groups, options = named(arrays, active, reset)
            ctx.run = kernel.forward(*groups, **options, **({} if module.INPUTS else {"steps": T}))
            ctx.save_for_backward(*arrays)  # the run reads them: torch tells if one changes in place
            ctx.set_materialize_grads(False)
            return tuple(torch.from_numpy(x.copy()) for x in (*ctx.run.states.values(), *ctx.run.outputs.values()))

        @staticmethod
        @once_differentiable
        def backward(ctx, *cotangents):
            arrays = ctx.saved_tensors
            names = (*ctx.run.states, *ctx.run.outputs)
            given = {k: x.numpy() for k, x in zip(names, cotangents) if x is not None}
            grads = kernel.backward(ctx.run, given)
            found = {**grads.params, **grads.inputs, **grads.contexts, **grads.state}
            every = (*module._weights(), *module._given(), *module.STATES)
            return (None,) * 5 + tuple(
                _tensor(found[k]) if k in found and x.is_floating_point() else None for k, x in zip(every, arrays)
            )

    return KernelRecurrence


def _tensor(x):
    """Return a gradient as a tensor; what is no array of its own is copied."""
    return torch.from_numpy(x) if x.flags.owndata and x.flags.writeable else torch.tensor(x)
