"""A NumPy kernel as a function of JAX: what `sb.jax(..., backend="kernel")` has in the place of native sweeps.

A call of the kernel is a callback of JAX, which is told shapes and types ahead. `module` has the tables of the cell.
"""

from functools import partial

import jax
import numpy as np


def recurrence(kernel, module):
    """Return the function that a module calls for all steps, run by a kernel."""

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def of_kernel(lead, active, reset, index, params, inputs, state):
        groups = params, inputs, state
        call = partial(_values, kernel, module, lead[0])
        return _called_back(call, _told_of_values(kernel, module, lead, groups), active, reset, groups)

    def there(lead, active, reset, index, *groups):
        return of_kernel(lead, active, reset, index, *groups), (active, reset, groups)

    def back(lead, saved, cotangents):
        active, reset, groups = saved
        call = partial(_gradients, kernel, module, lead[0])
        arrays = _by_name(module, groups)
        told = tuple(jax.ShapeDtypeStruct(arrays[k].shape, arrays[k].dtype) for k in _trained(module))
        found = dict(zip(_trained(module), _called_back(call, told, active, reset, groups, cotangents)))
        return None, None, None, *(tuple(found.get(k) for k in names) for names in _names(module))

    of_kernel.defvjp(there, back)
    return of_kernel


# Where a context alone enables 64 bits, the thread that calls back knows nothing of it, and JAX rounds what goes through it to 32 bits.
# Numbers of 64 bits go as two words each.
def _called_back(call, told, *arrays):
    """Return what a call of the kernel gives, of the shapes and types that are told."""

    def of_words(*words):
        return jax.tree.map(_words, call(*jax.tree.map(_numbers, words, types)))

    types = jax.tree.map(lambda x: x.dtype, arrays)
    words = jax.eval_shape(lambda given: jax.tree.map(_bits, given), told)
    found = jax.pure_callback(of_words, words, *jax.tree.map(_bits, arrays), vmap_method="sequential")
    return jax.tree.map(lambda x, like: jax.lax.bitcast_convert_type(x, like.dtype), found, told)


def _bits(x):
    return jax.lax.bitcast_convert_type(x, np.uint32) if x.dtype.itemsize == 8 else x


def _words(x):
    """Return the words of an array of NumPy, as JAX orders them."""
    x = np.asarray(x, order="C")
    return x.reshape(*x.shape, 1).view(np.uint32) if x.dtype.itemsize == 8 else x


def _numbers(words, dtype):
    """Return the array of NumPy that words stand for."""
    x = np.asarray(words, order="C")
    return x.view(dtype)[..., 0] if dtype.itemsize == 8 else x


def _names(module):
    return module._weights(), module._given(), module.STATES


def _trained(module):
    """Return the names of the arguments that have a gradient."""
    return tuple(k for names in _names(module) for k in names if k not in module.INDICES and k not in module.CONSTS)


def _by_name(module, groups):
    return {k: x for names, part in zip(_names(module), groups) for k, x in zip(names, part)}


def _told_of_values(kernel, module, lead, groups):
    """Return the shapes and types of the states and outputs of all steps."""
    arrays = _by_name(module, groups)
    dtype = next(x.dtype for k, x in arrays.items() if k not in module.INDICES)
    outputs = module._outputs(**kernel.module._sizes(partial(module._length, arrays)))
    shapes = {**{k: arrays[k].shape[1:] for k in module.STATES}, **outputs}
    return tuple(
        tuple(jax.ShapeDtypeStruct((*lead, *shapes[k]), dtype) for k in names)
        for names in (module.STATES, module.OUTPUTS)
    )


def _ran(kernel, module, T, active, reset, groups):
    """Return a run of the kernel on arrays of NumPy."""
    arrays = {k: np.asarray(x) for k, x in _by_name(module, groups).items()}
    params, inputs, state = ({k: arrays[k] for k in names} for names in _names(module))
    lengths = None if active is None else np.asarray(active).sum(0)
    resets = None if reset is None else np.asarray(reset)
    steps = {} if module.INPUTS else {"steps": T}
    return kernel.forward(params, inputs, state, lengths=lengths, reset=resets, **steps)


def _values(kernel, module, T, active, reset, groups):
    run = _ran(kernel, module, T, active, reset, groups)
    return tuple(run.states[k] for k in module.STATES), tuple(run.outputs[k] for k in module.OUTPUTS)


def _gradients(kernel, module, T, active, reset, groups, cotangents):
    # A callback keeps nothing for another one, so that the steps run again.
    run = _ran(kernel, module, T, active, reset, groups)
    names = (*module.STATES, *module.OUTPUTS)
    given = dict(zip(names, map(np.asarray, (*cotangents[0], *cotangents[1]))))
    grads = kernel.backward(run, given)
    found = {**grads.params, **grads.inputs, **grads.contexts, **grads.state}
    return tuple(found[k] for k in _trained(module))
