"""A NumPy kernel as a function of JAX: what `sb.jax(..., backend="kernel")` has in the place of native sweeps."""

from functools import partial

import jax
import numpy as np


def recurrence(kernel, module):
    """Return the function that a module calls for all steps, run by a kernel; `module` has the tables of the cell."""

    def called(T, active, reset, groups):
        """Return a run of the kernel on arrays of NumPy."""
        params, inputs, state = (
            {k: np.asarray(x) for k, x in zip(names, part, strict=True)}
            for names, part in zip((module.PARAMS, module.INPUTS, module.STATES), groups, strict=True)
        )
        lengths = None if active is None else np.asarray(active).sum(0)
        resets = None if reset is None else np.asarray(reset)
        steps = {} if module.INPUTS else {"steps": T}
        return kernel.forward(params, inputs, state, lengths=lengths, reset=resets, **steps)

    def values(T, active, reset, groups):
        run = called(T, active, reset, groups)
        return tuple(run.states[k] for k in module.STATES), tuple(run.outputs[k] for k in module.OUTPUTS)

    def gradients(T, active, reset, groups, cotangents):
        # A callback keeps nothing for another one, so that the steps run again.
        names = (*module.STATES, *module.OUTPUTS)
        given = dict(zip(names, map(np.asarray, (*cotangents[0], *cotangents[1])), strict=True))
        grads = kernel.backward(called(T, active, reset, groups), given)
        found = {**grads.params, **grads.inputs, **grads.state}
        return tuple(found[k] for k in trained)

    every = (*module.PARAMS, *module.INPUTS, *module.STATES)
    trained = tuple(k for k in every if k not in module.INDICES and k not in module.CONSTS)

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def of_kernel(lead, active, reset, index, params, inputs, state):
        T, B = lead
        arrays = dict(zip(every, (*params, *inputs, *state), strict=True))
        like = next(arrays[k] for k in every if k not in module.INDICES)
        shapes = {
            **{k: v.shape[1:] for k, v in zip(module.STATES, state, strict=True)},
            **module._outputs(**sizes(arrays)),
        }
        result = tuple(
            tuple(jax.ShapeDtypeStruct((T, B, *shapes[k]), like.dtype) for k in names)
            for names in (module.STATES, module.OUTPUTS)
        )
        return jax.pure_callback(
            partial(values, T), result, active, reset, (params, inputs, state), vmap_method="sequential"
        )

    def sizes(arrays):
        return module._sizes(partial(module._length, arrays))

    def there(lead, active, reset, index, params, inputs, state):
        return of_kernel(lead, active, reset, index, params, inputs, state), (active, reset, params, inputs, state)

    def back(lead, saved, cotangents):
        active, reset, *groups = saved
        arrays = dict(zip(every, (x for group in groups for x in group), strict=True))
        result = tuple(jax.ShapeDtypeStruct(arrays[k].shape, arrays[k].dtype) for k in trained)
        found = jax.pure_callback(
            partial(gradients, lead[0]), result, active, reset, tuple(groups), cotangents, vmap_method="sequential"
        )
        by_name = dict(zip(trained, found, strict=True))
        return (
            None,
            None,
            None,
            *(tuple(by_name.get(k) for k in names) for names in (module.PARAMS, module.INPUTS, module.STATES)),
        )

    of_kernel.defvjp(there, back)
    return of_kernel
