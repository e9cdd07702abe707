"""The model of main.c: the sunspots of the next year, by a minimal gated unit.

symbptt generate docs/examples/embedded/model.py:model --target c --sizes "m=1,n=8" --steps 250 -o sunspots.c
"""

import symbptt as sb
from symbptt import Param, State, Target
from symbptt.zoo import mgu


@sb.loss
def squared_error(h: State["n"], y: Target["1"], V: Param["1 n"], c: Param["1"]):
    e = V @ h + c - y
    return {"loss": sb.sum(e * e), "forecast": V @ h + c}


model = sb.model(mgu, squared_error, reduction="mean")
