"""The net of a cell, which modules for torch carry."""

import torch

from symbptt.codegen.frameworks.arguments import _given
from symbptt.codegen.frameworks.cell import STATES
from symbptt.codegen.frameworks.torch_parts import run
from symbptt.codegen.frameworks.torch_weights import _groups, _in_autocast, _Weights


class Net(_Weights):
    """The cell over all steps: the parameters by name, and a forward pass whose derivative is the derived one.

    `outputs, final = net(inputs, state=None, lengths=None, reset=None, steps=None)`: `outputs` has the states after each step and the
    outputs of the cell by name, (T, B, ...), `final` the states after the last step, (B, ...). Of one input the tensor may stand alone.
    Under autocast all is computed in the type of autocast.
    """

    def forward(self, inputs=None, state=None, *, lengths=None, reset=None, steps=None):
        groups, device = _groups(self, input=("inputs", inputs, _given()), state=("state", state, STATES))
        arrays = _in_autocast(groups, device).values()
        with torch.autocast(device, enabled=False):
            states, outputs, final = run(*arrays, lengths=lengths, reset=reset, steps=steps)
        return {**states, **outputs}, final
