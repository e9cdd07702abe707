"""A cell that reads one sequence, and one that begins where it ends, or reads all its steps, and writes another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.checks import as_array, check_mapping, check_seed
from symbptt.codegen.kernel import Kernel
from symbptt.codegen.reverse import final_of
from symbptt.codegen.runtime.results import Grads
from symbptt.errors import ArgumentError
from symbptt.ir.shape import Shape, show, size_text
from symbptt.language.cell import nearest
from symbptt.training.bidirectional import Bidirectional, BidirectionalRun
from symbptt.training.parts import check_params, check_run, joined, kernel_of, names_of, parted, sizes_by

PARTS = ("encoder", "decoder")
"""The parts: "encoder.x" is an input of the one, "decoder.x" of the other."""


@dataclass(frozen=True)
class EncoderDecoderRun:
    """The runs of both; `.states` and `.outputs` by "encoder.NAME" and "decoder.NAME"."""

    encoder: Any
    decoder: Any

    @property
    def states(self) -> dict[str, Any]:
        """The states of both, (T, B, ...), each with its own steps."""
        return joined({"encoder": self.encoder.states, "decoder": self.decoder.states})

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs of both, (T, B, ...)."""
        return joined({"encoder": self.encoder.outputs, "decoder": self.decoder.outputs})


@dataclass(frozen=True)
class EncoderDecoder:
    """An encoder, and a decoder whose states begin as those of the encoder end: `state` names for each of them the one it takes;
    `contexts` for contexts of the decoder what the encoder has at all its steps."""

    encoder: Kernel | Bidirectional
    decoder: Kernel
    state: Mapping[str, str]
    contexts: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        taken = ", ".join(f"{own} from {source}" for own, source in {**self.state, **self.contexts}.items())
        return f"<encoder {_name(self.encoder)} and decoder {self.decoder.target.name}: {taken}>"

    def init(self, sizes: Mapping[str, int], seed: int = 0, **options: Any) -> dict[str, Any]:
        """Return first values of the parameters of both, drawn from two seeds; `sizes` of one alone are named "decoder.n".

        Raises: ArgumentError as `init` of a cell does.
        """
        check_seed(seed)
        own = sizes_by(sizes, {"encoder": _kernels_of(self.encoder), "decoder": [self.decoder]})
        # Two seeds are those of the directions of an encoder.
        begins = self.encoder if isinstance(self.encoder, Bidirectional) else self.encoder.target
        encoder = begins.init(own["encoder"], seed, **options)
        decoder = self.decoder.target.init(own["decoder"], seed + 2, **options)
        return joined({"encoder": encoder, "decoder": decoder})

    def forward(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        steps: Mapping[str, int] | None = None,
        lengths: Mapping[str, Any] | None = None,
    ) -> EncoderDecoderRun:
        """Return the runs of both; `state` are initial ones of the encoder, and those of the decoder that it does not take.

        Shapes: all by "encoder.NAME" and "decoder.NAME"; `steps` and `lengths` by "encoder" and "decoder".

        Raises: ArgumentError as `forward` of a kernel does.
        """
        encoder, weights, data, begins, masks = self._encoded(params, inputs, state, steps, lengths)
        decoder = self.decoder.forward(weights, data, begins, **masks)
        return EncoderDecoderRun(encoder, decoder)

    def backward(self, run: EncoderDecoderRun, cotangents: Mapping[str, Any]) -> Grads:
        """Return the gradients of sum(cotangent * value): `.params`, `.inputs`, `.state` by "encoder.NAME" and "decoder.NAME".

        Shapes: cotangents of states and outputs by these names, as `backward` of a kernel takes them.

        Raises: ArgumentError as `backward` of a kernel does.
        """
        check_run(run, EncoderDecoderRun)
        sent = parted("cotangents", cotangents, PARTS)
        return self._grads(run.encoder, sent["encoder"], self.decoder.backward(run.decoder, sent["decoder"]))

    def value_and_grad(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        targets: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        steps: Mapping[str, int] | None = None,
        lengths: Mapping[str, Any] | None = None,
    ) -> tuple[Any, Grads]:
        """Return the loss of a decoder that is a model, and its gradients, those of the encoder's parameters with them.

        Shapes: as for `forward`; targets, which the decoder alone has, by "decoder.NAME" or by their own names.

        Raises: ArgumentError where the decoder has no loss, and as `value_and_grad` of a kernel does.
        """
        encoder, weights, data, begins, masks = self._encoded(params, inputs, state, steps, lengths)
        value, grads = self.decoder.value_and_grad(weights, data, _targets(targets), begins, **masks)
        return value, self._grads(encoder, {}, grads)

    def value(
        self,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        targets: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        steps: Mapping[str, int] | None = None,
        lengths: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the loss of a decoder that is a model, alone.

        Raises: ArgumentError as `value_and_grad` does.
        """
        _, weights, data, begins, masks = self._encoded(params, inputs, state, steps, lengths)
        return self.decoder.value(weights, data, _targets(targets), begins, **masks)

    def _encoded(self, params: Any, inputs: Any, state: Any, steps: Any, lengths: Any) -> tuple[Any, ...]:
        """Return the run of the encoder, and what the decoder is called with."""
        weights, data = parted("params", params, PARTS), parted("inputs", inputs, PARTS)
        begins = parted("state", state, PARTS)
        given = {"steps": _of_parts("steps", steps), "lengths": _of_parts("lengths", lengths)}
        masks: dict[str, dict[str, Any]] = {part: {k: v.get(part) for k, v in given.items()} for part in PARTS}
        check_params(weights, {part: _names_of(getattr(self, part), "param") for part in PARTS})
        # The encoder first: what it ends with is what the decoder begins with.
        run = self.encoder.forward(weights["encoder"], data["encoder"], begins["encoder"], **masks["encoder"])
        for what, given, taken in (("state", begins, self.state), ("inputs", data, self.contexts)):
            twice = sorted({*given["decoder"]} & {*taken})
            if twice:
                raise ArgumentError(
                    f"{what}: decoder.{twice[0]} is what the encoder gives, and is given too\n  leave it away"
                )
        ends = run.final if isinstance(run, BidirectionalRun) else final_of(run)
        begun = {own: ends[source] for own, source in self.state.items()}
        values = run.states | run.outputs
        read = {own: self._turned(own, values[source]) for own, source in self.contexts.items()}
        return run, weights["decoder"], data["decoder"] | read, begins["decoder"] | begun, masks["decoder"]

    def _turned(self, name: str, value: Any) -> Any:
        """Return what the encoder has at all steps as a context, (B, S, ...), or a context as (S, B, ...)."""
        rank = next(len(a.shape) for a in self.decoder.target.arguments if a.name == name)
        return np.ascontiguousarray(np.swapaxes(value, 0, 1)) if np.ndim(value) == rank + 1 else value

    def _grads(self, run: Any, sent: Mapping[str, Any], decoder: Any) -> Grads:
        """Return the gradients of both, of those of the decoder and the cotangents of the encoder."""
        values = run.states | run.outputs
        # What the decoder sends to its initial states is a cotangent of what the encoder ends with.
        handed = {name: as_array(f"encoder.{name}", value) for name, value in sent.items()}
        for own, source in self.state.items():
            handed[source] = _added(handed.get(source), decoder.state[own], values[source].shape, _end(run, source))
        for own, source in self.contexts.items():
            back = self._turned(own, decoder.contexts[own])
            handed[source] = _added(handed.get(source), back, back.shape, _end(run, source))
        encoder = self.encoder.backward(run, handed)
        # States that the encoder gives have no gradient of their own: it has gone on into the encoder.
        left = {k: v for k, v in decoder.state.items() if k not in self.state}
        params = joined({"encoder": encoder.params, "decoder": decoder.params})
        inputs = joined({"encoder": encoder.inputs, "decoder": decoder.inputs})
        grads = Grads(params, inputs, joined({"encoder": encoder.state, "decoder": left}), None, decoder.final)
        rest = {k: v for k, v in decoder.contexts.items() if k not in self.contexts}
        grads.contexts = joined({"encoder": encoder.contexts, "decoder": rest})
        return grads


def _end(run: Any, source: str) -> int:
    """Return the step at which a state ends: one of the direction that goes back ends at the first."""
    return 0 if isinstance(run, BidirectionalRun) and source.startswith("backward.") else -1


def _added(given: Any, more: Any, shape: tuple[int, ...], end: int) -> Any:
    """Return the cotangents of a state or an output, of the `shape` of all steps or of the step `end` alone, with more of them."""
    if given is None:
        return more
    if given.dtype != more.dtype or given.shape not in (shape, shape[1:]):
        return given  # which the encoder refuses
    if given.shape == more.shape:
        return given + more
    whole, one = (given, more) if given.shape == shape else (more, given)
    # A copy, for the caller keeps the cotangents that were given.
    full = whole.copy()
    full[end] += one
    return full


def _targets(given: Any) -> Any:
    """Return targets by the names that the decoder has for them.

    Raises: ArgumentError for what is no dict by name, and where one is given by both names.
    """
    check_mapping("targets", {} if given is None else given, 'targets={"decoder.y": ...}')
    found: dict[str, Any] = {}
    for key, value in (given or {}).items():
        name = key.removeprefix("decoder.")
        if name in found:
            raise ArgumentError(f"targets: {name!r} is given twice\n  write targets={{'decoder.{name}': ...}} alone")
        found[name] = value
    return None if given is None else found


def _of_parts(what: str, given: Any) -> dict[str, Any]:
    """Return what is given for each part.

    Raises: ArgumentError where it is no dict by part.
    """
    example = f"{what}={{{', '.join(f'{part!r}: ...' for part in PARTS)}}}"
    check_mapping(what, {} if given is None else given, example)
    for part in given or {}:
        if part not in PARTS:
            raise ArgumentError(f"{what}: {' and '.join(PARTS)} are expected, got {part!r}\n  write {example}")
    return {} if given is None else dict(given)


def _kernels_of(encoder: Kernel | Bidirectional) -> list[Kernel]:
    return [encoder] if isinstance(encoder, Kernel) else [*encoder.kernels.values()]


def _name(encoder: Kernel | Bidirectional) -> str:
    return repr(encoder)[1:-1] if isinstance(encoder, Bidirectional) else encoder.target.name


def _names_of(part: Kernel | Bidirectional, role: str) -> list[str]:
    """Return the names of the arguments of one role of a part."""
    if isinstance(part, Kernel):
        return names_of(part, role)
    return list(joined({way: dict.fromkeys(names_of(kernel, role)) for way, kernel in part.kernels.items()}))


def encoder_decoder(
    encoder: Any, decoder: Any, state: Mapping[str, str] | None = None, contexts: Mapping[str, str] | None = None
) -> EncoderDecoder:
    """Return an encoder and a decoder as one net: the decoder begins with what the encoder ends with.

    Both are cells or kernels, the decoder a model too, the encoder also what `sb.bidirectional` returns. `state` tells for a state of
    the decoder the state of the encoder that it begins with, {"h": "h"}; without it, states of one name. What is not told begins as
    the decoder says. `contexts` tells for a context of the decoder the state or the output of the encoder that it is, at all steps,
    {"memory": "h"} of `memory: Context["s n"]`, for attention; the other contexts are given as "decoder.NAME" among the inputs.
    Behind the end of a sample of the encoder its states repeat, so that a decoder that must not read them is given a mask.

    Example::

        net = sb.encoder_decoder(gru, sb.model(gru_with_outputs, loss))
        value, grads = net.value_and_grad(net.init(sizes), {"encoder.x": x, "decoder.x": y}, {"label": label})

    Raises: ArgumentError for what is neither, and for states that are not there.
    """
    reads = encoder if isinstance(encoder, Bidirectional) else kernel_of("encoder_decoder", encoder)
    writes = kernel_of("encoder_decoder", decoder)
    there, wanted = _names_of(reads, "state"), _names_of(writes, "state")
    if state is not None:
        check_mapping("state", state, 'state={"h": "h"}')
    taken = {name: name for name in wanted if name in there} if state is None else dict(state)
    for names, known, whose in ((taken, wanted, "decoder"), (taken.values(), there, "encoder")):
        for name in names:
            if name not in known:
                raise ArgumentError(f"state: {name!r} is no state of the {whose}" + nearest(str(name), known))
    if contexts is not None:
        check_mapping("contexts", contexts, 'contexts={"memory": "h"}')
    read = {} if contexts is None else dict(contexts)
    _check_contexts(read, reads, writes)
    _check_ranks(taken, read, reads, writes)
    if not taken and not read:
        raise ArgumentError(
            f"state: the encoder ends with {', '.join(there)}, the decoder begins with {', '.join(wanted)}\n"
            f'  tell which it takes: state={{"{wanted[0] if wanted else "h"}": "{there[0] if there else "h"}"}}'
        )
    return EncoderDecoder(reads, writes, taken, read)


def _check_contexts(read: Mapping[str, str], encoder: Kernel | Bidirectional, decoder: Kernel) -> None:
    """Raises: ArgumentError for contexts that the decoder, or what is told of the encoder, does not have."""
    wanted, there = _names_of(decoder, "context"), [*_names_of(encoder, "state"), *_outputs_of(encoder)]
    for names, known, what in (
        (read, wanted, "context of the decoder"),
        (read.values(), there, "state and no output of the encoder"),
    ):
        for name in names:
            if name not in known:
                raise ArgumentError(f"contexts: {name!r} is no {what}" + nearest(str(name), known))


def _check_ranks(taken: Mapping[str, str], read: Mapping[str, str], encoder: Any, decoder: Kernel) -> None:
    """Raises: ArgumentError where what the decoder takes has not as many axes as the encoder gives: of a context one more, its steps."""
    own, given = _shapes_of(decoder), _shapes_of(encoder)
    for what, pairs, steps in (("state", taken, ()), ("contexts", read, ("s",))):
        for name, source in pairs.items():
            wanted = (*steps, *given[source])
            if len(own[name]) != len(wanted):
                role = "Context" if steps else "State"
                raise ArgumentError(
                    f"{what}: {name!r} of the decoder is {show(own[name])}, and {source!r} of the encoder {show(given[source])}"
                    f"{' at each of its steps' * bool(steps)}\n"
                    f'  write {name}: {role}["{" ".join(map(size_text, wanted))}"] in the decoder, or give it another value of the encoder'
                )


def _shapes_of(part: Kernel | Bidirectional) -> dict[str, Shape]:
    """Return the shapes of the states, the contexts and the outputs of a part, for one sample and one step."""
    if isinstance(part, Bidirectional):
        return joined({way: _shapes_of(kernel) for way, kernel in part.kernels.items()})
    step = part.cell.looped
    outputs = {name: step.graph.shape(id) for name, id in step.outputs.items()}
    return outputs | {a.name: a.shape for a in part.cell.arguments if a.role in ("state", "context")}


def _outputs_of(part: Kernel | Bidirectional) -> list[str]:
    """Return the names of the outputs of a part."""
    if isinstance(part, Kernel):
        return [*part.cell.looped.outputs]
    return list(joined({way: dict.fromkeys(_outputs_of(kernel)) for way, kernel in part.kernels.items()}))
