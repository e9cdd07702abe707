"""In the place of what a loss returns beside its value, where it returns that alone."""

from symbptt.codegen.frameworks.arguments import ArgumentError


def predict(params, inputs=None, state=None, *, lengths=None, reset=None, steps=None):
    """Refuse what the loss of this model does not tell."""
    return _foretold(None, None, None, None, 0, 0)


def _foretold(given, exact, lengths, reset, T, B):
    raise ArgumentError(
        'the loss returns its value alone, and so predicts nothing by name\n  end it with return {"loss": value, "logits": z}'
    )
