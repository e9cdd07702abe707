"""Recurrent cells, each a few lines of user-level code with its paper."""

from symbptt.language.cell import Cell
from symbptt.zoo.continuous import cornn, ctrnn, lem, ltc, unicornn
from symbptt.zoo.gated import (
    cifg,
    fast_grnn,
    graph_gru,
    gru,
    gru_layer_norm,
    lstm,
    lstm_peephole,
    mgu,
    mgu2,
    min_gru,
    minimal_rnn,
    sru,
    ugrnn,
    zoneout,
)
from symbptt.zoo.learning import predictive_coding, titans, ttt
from symbptt.zoo.linear import linoss, lru, s4d, s5, selective_ssm
from symbptt.zoo.memory import (
    attention,
    delta_rule,
    fast_weights,
    hopfield,
    linear_attention,
    mlstm,
    retnet,
    stack_rnn,
)
from symbptt.zoo.simple import (
    antisymmetric,
    clockwork,
    delay_rnn,
    echo_state,
    householder,
    indrnn,
    rnn,
    scrn,
    second_order,
)
from symbptt.zoo.solving import kalman, mesa_net
from symbptt.zoo.spatial import conv_lstm, slot_attention
from symbptt.zoo.spiking import alif, lif

CELLS: dict[str, Cell] = {name: value for name, value in sorted(globals().items()) if isinstance(value, Cell)}
"""Every cell of the zoo by name."""

__all__ = [
    "CELLS", "alif", "antisymmetric", "attention", "cifg", "clockwork", "conv_lstm", "cornn", "ctrnn", "delay_rnn",
    "delta_rule", "echo_state", "fast_grnn", "fast_weights", "graph_gru", "gru", "gru_layer_norm", "hopfield",
    "householder", "indrnn", "kalman", "lem", "lif", "linear_attention", "linoss", "lru", "lstm", "lstm_peephole",
    "ltc", "mesa_net", "mgu", "mgu2", "min_gru", "minimal_rnn", "mlstm", "predictive_coding", "retnet", "rnn",
    "s4d", "s5", "scrn", "second_order", "selective_ssm", "slot_attention", "sru", "stack_rnn", "titans", "ttt", "ugrnn",
    "unicornn", "zoneout",
]  # fmt: skip
