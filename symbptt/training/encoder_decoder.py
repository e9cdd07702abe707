"""A cell that reads one sequence, and one that begins where it ends and writes another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from symbptt.checks import as_array, check_mapping, check_seed
from symbptt.codegen.kernel import Kernel
from symbptt.codegen.reverse import final_of
from symbptt.codegen.runtime.results import Grads
from symbptt.errors import ArgumentError
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
    """An encoder, and a decoder whose states begin as those of the encoder end: `state` names for each of them the one it takes."""

    encoder: Kernel | Bidirectional
    decoder: Kernel
    state: Mapping[str, str]

    def __repr__(self) -> str:
        taken = ", ".join(f"{own} from {source}" for own, source in self.state.items())
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

        Shapes: as for `forward`; targets by their own names, as the kernel of the decoder takes them.

        Raises: ArgumentError where the decoder has no loss, and as `value_and_grad` of a kernel does.
        """
        encoder, weights, data, begins, masks = self._encoded(params, inputs, state, steps, lengths)
        value, grads = self.decoder.value_and_grad(weights, data, targets, begins, **masks)
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
        return self.decoder.value(weights, data, targets, begins, **masks)

    def _encoded(self, params: Any, inputs: Any, state: Any, steps: Any, lengths: Any) -> tuple[Any, ...]:
        """Return the run of the encoder, and what the decoder is called with."""
        weights, data = parted("params", params, PARTS), parted("inputs", inputs, PARTS)
        begins = parted("state", state, PARTS)
        given = {"steps": _of_parts("steps", steps), "lengths": _of_parts("lengths", lengths)}
        masks: dict[str, dict[str, Any]] = {part: {k: v.get(part) for k, v in given.items()} for part in PARTS}
        check_params(weights, {part: _names_of(getattr(self, part), "param") for part in PARTS})
        # The encoder first: what it ends with is what the decoder begins with.
        run = self.encoder.forward(weights["encoder"], data["encoder"], begins["encoder"], **masks["encoder"])
        twice = sorted({*begins["decoder"]} & {*self.state})
        if twice:
            raise ArgumentError(
                f"state: decoder.{twice[0]} is what the encoder ends with, and is given too\n  leave it away"
            )
        ends = run.final if isinstance(run, BidirectionalRun) else final_of(run)
        taken = {own: ends[source] for own, source in self.state.items()}
        return run, weights["decoder"], data["decoder"], begins["decoder"] | taken, masks["decoder"]

    def _grads(self, run: Any, sent: Mapping[str, Any], decoder: Any) -> Grads:
        """Return the gradients of both, of those of the decoder and the cotangents of the encoder."""
        values = run.states | run.outputs
        # What the decoder sends to its initial states is a cotangent of what the encoder ends with.
        handed = {name: as_array(f"encoder.{name}", value) for name, value in sent.items()}
        for own, source in self.state.items():
            # A state of the direction that goes back ends at the first step.
            end = 0 if isinstance(run, BidirectionalRun) and source.startswith("backward.") else -1
            handed[source] = _added(handed.get(source), decoder.state[own], values[source].shape, end)
        encoder = self.encoder.backward(run, handed)
        # States that the encoder gives have no gradient of their own: it has gone on into the encoder.
        left = {k: v for k, v in decoder.state.items() if k not in self.state}
        params = joined({"encoder": encoder.params, "decoder": decoder.params})
        inputs = joined({"encoder": encoder.inputs, "decoder": decoder.inputs})
        return Grads(params, inputs, joined({"encoder": encoder.state, "decoder": left}), None, decoder.final)


def _added(given: Any, last: Any, shape: tuple[int, ...], end: int) -> Any:
    """Return the cotangents of a state with one more of what it ends with, at the step `end`."""
    if given is None:
        return last
    if given.dtype != last.dtype or given.shape not in (shape, last.shape):
        return given  # which the encoder refuses
    if given.shape == last.shape:
        return given + last
    # A copy, for the caller keeps the cotangents that were given.
    full = given.copy()
    full[end] += last
    return full


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


def encoder_decoder(encoder: Any, decoder: Any, state: Mapping[str, str] | None = None) -> EncoderDecoder:
    """Return an encoder and a decoder as one net: the decoder begins with what the encoder ends with.

    Both are cells or kernels, the decoder a model too, the encoder also what `sb.bidirectional` returns. `state` tells for a state of
    the decoder the state of the encoder that it begins with, {"h": "h"}; without it, states of one name. What is not told begins as
    the decoder says.

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
    if not taken:
        raise ArgumentError(
            f"state: the encoder ends with {', '.join(there)}, the decoder begins with {', '.join(wanted)}\n"
            f'  tell which it takes: state={{"{wanted[0] if wanted else "h"}": "{there[0] if there else "h"}"}}'
        )
    return EncoderDecoder(reads, writes, taken)
