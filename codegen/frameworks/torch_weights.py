"""The parameters of a net, and what it is called with, which modules for torch carry."""

import torch

from symbptt.codegen.frameworks.arguments import ArgumentError
from symbptt.codegen.frameworks.cell import CONSTS, FIRST, NEEDED, PARAMS, SIZES, _shapes


class _Weights(torch.nn.Module):
    """The parameters by name, with first values."""

    def __init__(self, sizes, seed=0, device=None, dtype=None):
        super().__init__()
        for name in NEEDED:
            if name not in sizes:
                raise ArgumentError(f"the size {name!r} is missing\n  its parameters have {', '.join(NEEDED)}")
            if not isinstance(sizes[name], int) or sizes[name] < 1:
                raise ArgumentError(f"the size {name!r} must be a positive integer, got {sizes[name]!r}")
        self.sizes = {name: sizes[name] for name in NEEDED}
        shapes = _shapes(
            **{name: sizes.get(name, 1) for name in SIZES}
        )  # any number serves for one that no parameter has
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


def _groups(net, **given):
    """Return the dicts of a call by what they hold, and the device; of one input, or one target, the tensor may stand alone."""
    groups = {"parameter": net.weights()}
    for what, (words, value, names) in given.items():
        if isinstance(value, torch.Tensor):
            if len(names) != 1:
                raise ArgumentError(f"{words}: a dict of {', '.join(names)} is expected, got one tensor")
            value = {names[0]: value}
        if value is not None and not hasattr(value, "items"):
            raise ArgumentError(f"{words}: a dict of tensors by name is expected, got {type(value).__name__}")
        groups[what] = dict(value or {})
    device = next(v for group in groups.values() for v in group.values() if hasattr(v, "device")).device.type
    return groups, device


def _in_autocast(groups, device):
    """Return dicts of tensors in the type of autocast, where it is enabled on a device."""
    if not torch.is_autocast_enabled(device):
        return groups
    return {what: _cast(group, torch.get_autocast_dtype(device)) for what, group in groups.items()}


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
        # Row by row, as all others: LAPACK's factor is column by column, which products of many rows pay for.
        return (q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1)).unsqueeze(-2)).contiguous()
    if FIRST[name] == "uniform":
        limit = (6 / (shape[-1] + shape[-2])) ** 0.5
        return (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * limit
    return torch.tensor(FIRST[name], dtype=torch.float64).expand(shape).clone()
