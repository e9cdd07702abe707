"""Modules for torch and JAX: their text, and in the frameworks the values and gradients of the NumPy kernel."""

import ast
import copy
import shutil
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State, zoo
from symbptt.codegen import compiler, native
from symbptt.codegen.load import load
from symbptt.commands.main import run as run_command
from symbptt.interop.pytorch import from_torch
from tests.context_cells import CELLS as OF_CONTEXTS
from tests.context_cells import attend
from tests.kernels import kernel_of
from tests.native_cells import (
    CELLS,
    MODELS,
    SIZES,
    alone,
    arguments,
    begun,
    branches,
    gated,
    late,
    masks,
    memory,
    model_arguments,
    plain,
    selective,
    sizes_of,
    tables,
)

CC = shutil.which("cc")
SOURCES = {"torch": sb.torch_source, "jax": sb.jax_source}
SHAPES = ((5, 3, False), (5, 3, True), (1, 1, True), (2, 1, False), (0, 2, False))
CASES = [(cell, *shape) for cell in (*CELLS, *OF_CONTEXTS) for shape in SHAPES]


@pytest.mark.parametrize("framework", SOURCES)
def test_text_of_plain_cell(framework: str) -> None:
    text = SOURCES[framework](plain)
    assert ast.parse(text)
    name = {"torch": "torch", "jax": "jnp"}[framework]
    for line in (
        "    a_in = x @ W.T + b  # W x_t + b",
        f"        h = {name}.tanh(a_in + h_prev @ U.T)  # h_t = tanh(W x_t + b + U h_{{t-1}})",
        "    da_dh = 1 - h ** 2  # da_{dh,t} = 1 - h_t²",
        "        da = dh * da_dh  # da_t = dh_t ⊙ (1 - h_t²)",
        "        dh_prev = da @ U  # dh_{t-1} = Uᵀ da_t",
        "    dU = da.reshape(T * B, n).T @ h_prev.reshape(T * B, n)  # dU = Σ_t da_t h_{t-1}ᵀ",
        "    dx = da @ W  # dx_t = Wᵀ da_t",
    ):
        assert line in text.splitlines(), line
    modules = {part for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)
               for part in [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name]}  # fmt: skip
    assert modules == {framework, "functools"} | ({"jax.numpy"} if framework == "jax" else set())


@pytest.mark.parametrize("framework", SOURCES)
def test_text_is_the_same_twice_and_holds_only_what_it_needs(framework: str) -> None:
    assert SOURCES[framework](gated) == SOURCES[framework](gated)
    assert "def _gathered" not in SOURCES[framework](plain) and "def _collected" in SOURCES[framework](tables)


@pytest.mark.parametrize("framework", SOURCES)
def test_affine_steps_with_bounded_coefficients_are_scans(framework: str) -> None:
    for cell, flow, is_scan in (
        (selective, {}, True),
        (selective, {"clip_adjoint": 1.0}, False),
        (selective, {"truncation": sb.Window(2)}, False),
        (unbounded, {}, False),
        (late, {}, False),  # an output reads the state before a step
        (gated, {}, False),
    ):
        text = SOURCES[framework](cell, **flow)
        assert ("def _linear" in text, "def step" in text) == (is_scan, not is_scan), cell.name


@pytest.mark.parametrize("framework", SOURCES)
def test_contexts_are_held_once_and_their_products_leave_the_loop(framework: str) -> None:
    text = SOURCES[framework](attend)
    assert text.index("    keys = ") < text.index("    def step") and "TBab" not in text


@pytest.mark.peers
def test_a_context_without_an_axis_of_samples_is_that_of_all() -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    params, inputs, state, _ = arguments(attend, 3, 2)
    one = inputs | {"memory": inputs["memory"][0]}
    kernel = kernel_of(attend)
    run = kernel.forward(params, one, state)
    wanted: Any = kernel.backward(run, {"h": 2 * run.states["h"]}).contexts["memory"]
    net = sb.torch(attend, {k: SIZES[k] for k in "mnk"}).double()  # how long memories are is no size of a parameter
    net.load_state_dict({k: torch.tensor(v) for k, v in params.items()})
    tensors = {k: torch.tensor(v, requires_grad=True) for k, v in one.items()}
    (net(tensors, {"h": torch.tensor(state["h"])})[0]["h"] ** 2).sum().backward()
    assert_close(tensors["memory"].grad.numpy(), wanted, "torch")
    with jax.enable_x64(True):
        grads = jax.grad(lambda x: (sb.jax(attend)(params, x, state)[0]["h"] ** 2).sum())(one)
    assert_close(grads["memory"], wanted, "jax")


@pytest.mark.peers
@pytest.mark.parametrize("lead", [(0, 2), (1, 1), (7, 2), (21, 200)])
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("device", ["cpu", "accelerator"])
@pytest.mark.thinned(1, 3)
def test_linear_recurrence_equals_its_loop(lead: tuple[int, int], back: bool, device: str, monkeypatch: Any) -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    random = np.random.default_rng(3)
    a, b = random.uniform(-1, 1, (*lead, 4)), random.standard_normal((*lead, 4))
    wanted, x = np.zeros_like(b), np.zeros(b.shape[1:])
    for t in range(lead[0])[:: -1 if back else 1]:
        wanted[t] = x = a[t] * x + b[t]
    by_torch, by_jax = module_of("torch", selective), module_of("jax", selective)
    if device != "cpu":  # what is chosen there, here
        by_torch._window = lambda b: 1 << max(len(b), 1).bit_length() - 1
        monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arrays, cpu, default: default(*arrays))
    found = by_torch._linear(torch.tensor(a), torch.tensor(b), back)
    assert_close(found.numpy(), wanted, "torch", 1e-12)
    with jax.enable_x64(True):
        assert_close(by_jax._linear(jax.numpy.asarray(a), b, back), wanted, "jax", 1e-12)


def test_command_writes_a_module(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "rnn_torch.py"
    assert run_command(["generate", "rnn", "--target", "torch", "-o", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == sb.torch_source(sb.zoo.rnn)
    models = tmp_path / "models.py"
    models.write_text("from tests.native_cells import MODELS\nmodel = MODELS[2]\n", encoding="utf-8")
    assert run_command(["generate", f"{models}:model", "--target", "torch"]) == 0
    assert capsys.readouterr().out == sb.torch_source(MODELS[2])
    assert run_command(["generate", "rnn", "--target", "jax"]) == 0
    assert capsys.readouterr().out == sb.jax_source(sb.zoo.rnn)


def test_what_lacks_is_refused_by_name() -> None:
    @sb.cell
    def named_rounds(h: State["n"], w: Param["k n"]):
        return sb.repeat(lambda z: np.tanh(z), h, h.shape[0]) + w.sum(0)

    with pytest.raises(sb.CellError, match="times"):
        sb.torch_source(named_rounds)
    with pytest.raises(sb.ArgumentError, match="torch_source takes a cell or a model, got int"):
        sb.torch_source(3)
    with pytest.raises(sb.ArgumentError, match="does not go with Window"):
        sb.torch_source(plain, truncation=sb.Window(3), clip_adjoint=1.0)


def test_losses_that_flow_nowhere_are_told_where_there_are_some() -> None:
    for written in (sb.torch_source, sb.jax_source):
        assert "_hear(" in written(plain, truncation=sb.Chunked(3, 2))
        assert "_hear" not in written(plain, truncation=sb.Chunked(3, 3)) + written(plain)


def expected(cell: Any, T: int, B: int, masked: bool, flow: dict[str, Any]) -> Any:
    """Arguments, options, cotangents, and the values and gradients of the kernel."""
    params, inputs, state, options = arguments(cell, T, B)
    options |= masks(T, B) if masked else {}
    kernel = sb.compile(cell, **flow) if flow else kernel_of(cell)
    run = kernel.forward(params, inputs, state, **options)
    values = {**run.states, **run.outputs}
    random = np.random.default_rng(2)
    cotangents = {name: random.standard_normal(value.shape) for name, value in values.items()}
    if "lengths" in options and "clip_adjoint" in flow:
        # What is sent to a sample behind its end is clipped there by the kernel, and natively where it is added to its last step.
        active = np.arange(T)[:, None] < options["lengths"]
        cotangents = {k: v * active.reshape(T, B, *[1] * (v.ndim - 2)) for k, v in cotangents.items()}
    grads = kernel.backward(run, cotangents)
    return (
        (params, inputs, state),
        options,
        cotangents,
        values,
        (grads.params, grads.inputs | grads.contexts, grads.state),
    )


def assert_close(found: Any, wanted: Any, name: str, most: float = 1e-10) -> None:
    size = max(1.0, np.abs(wanted).max(initial=0))
    assert np.shape(found) == np.shape(wanted), name
    assert np.abs(np.asarray(found) - wanted).max(initial=0) <= most * size, name


def module_of(framework: str, cell: Any, change: tuple[str, str] = ("", ""), **flow: Any) -> Any:
    text = SOURCES[framework](cell, **flow)
    assert change[0] in text
    return load(text.replace(*change) if change[0] else text, f"<{framework} {cell.name}>")


def compare_torch(cell: Any, T: int, B: int, masked: bool, change: tuple[str, str] = ("", ""), **flow: Any) -> None:
    torch = pytest.importorskip("torch")
    given, options, cotangents, values, grads = expected(cell, T, B, masked, flow)
    tensors = [{k: torch.tensor(v, requires_grad=v.dtype.kind == "f") for k, v in group.items()} for group in given]
    options = {k: v if k == "steps" else torch.tensor(v) for k, v in options.items()}
    states, outputs, final = module_of("torch", cell, change, **flow).run(*tensors, **options)
    found = {**states, **outputs}
    for name, value in values.items():
        assert_close(found[name].detach().numpy(), value, name)
    for name, value in final.items():
        assert_close(value.detach().numpy(), values[name][-1] if T else given[2][name], name)
    sum((found[k] * torch.tensor(v)).sum() for k, v in cotangents.items()).backward()
    for mine, theirs in zip(tensors, grads, strict=True):
        for name, value in theirs.items():
            grad = mine[name].grad
            assert_close(np.zeros_like(value) if grad is None else grad.numpy(), value, f"d{name}")


def compare_jax(cell: Any, T: int, B: int, masked: bool, change: tuple[str, str] = ("", ""), **flow: Any) -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        given, options, cotangents, values, grads = expected(cell, T, B, masked, flow)
        module = module_of("jax", cell, change, **flow)
        floats = [{k: v for k, v in group.items() if v.dtype.kind == "f"} for group in given]

        def value(params: Any, inputs: Any, state: Any) -> Any:
            states, outputs = module.run(params, {**given[1], **inputs}, state, **options)
            found = {**states, **outputs}
            return sum((found[k] * v).sum() for k, v in cotangents.items()), found

        derived, found = jax.jit(jax.grad(value, (0, 1, 2), has_aux=True))(*floats)
        for name in values:
            assert_close(found[name], values[name], name)
        for mine, theirs in zip(derived, grads, strict=True):
            for name, wanted in theirs.items():
                assert_close(mine[name], wanted, f"d{name}")


@pytest.mark.peers
@pytest.mark.parametrize(("cell", "T", "B", "masked"), CASES, ids=lambda v: getattr(v, "name", str(v)))
@pytest.mark.thinned(7, 17)
def test_torch_equals_the_kernel(cell: Any, T: int, B: int, masked: bool) -> None:
    compare_torch(cell, T, B, masked)


@pytest.mark.peers
@pytest.mark.parametrize(("cell", "T", "B", "masked"), CASES, ids=lambda v: getattr(v, "name", str(v)))
@pytest.mark.thinned(7, 37)
def test_jax_equals_the_kernel(cell: Any, T: int, B: int, masked: bool) -> None:
    compare_jax(cell, T, B, masked)


@pytest.mark.peers
@pytest.mark.parametrize("compare", [compare_torch, compare_jax])
def test_a_planted_mistake_is_seen(compare: Any) -> None:
    with pytest.raises(AssertionError, match="dW|dU|dx"):
        compare(plain, 5, 3, False, ("da_dh = 1 - h ** 2", "da_dh = 1 - h"))
    with pytest.raises(AssertionError, match="dW|dU|dx|dh"):
        compare(plain, 5, 3, False, ("dh_prev = da @ U", "dh_prev = 0.9 * da @ U"))
    with pytest.raises(AssertionError, match="dA|dW|dx|dh"):
        compare(selective, 5, 3, False, ("(kept[1:], 0 * kept[:1])", "(kept[:-1], 0 * kept[:1])"))
    with pytest.raises(AssertionError, match="dmemory|dWk"):
        compare(attend, 5, 3, False, ('"TBa,TBb->Bab", dshifted', '"TBa,TBb->Bab", 0.9 * dshifted'))


@sb.cell
def unbounded(x: Input["n"], h: State["n"], w: Param["n"]):
    """Affine with a coefficient that may be larger than one, whose powers may overflow where no state does."""
    return w * h + x


FLOWS: tuple[dict[str, Any], ...] = (
    {},
    {"truncation": sb.Window(3)},
    {"truncation": sb.Chunked(2, 3)},
    {"truncation": sb.Chunked(3, 4), "clip_adjoint": 0.3},
    {"clip_adjoint": 0.1},
    {"truncation": sb.Chunked(2, 2)},
    {"truncation": sb.Window(50)},
    {"truncation": sb.Chunked(4, 2)},
)
"""Each model and cell takes another one of these."""
MODEL_CASES = [(model, FLOWS[i % len(FLOWS)], (7, 3)) for i, model in enumerate(MODELS)] + [
    (MODELS[0], FLOWS[1], (0, 2)),
    (MODELS[7], FLOWS[3], (0, 2)),
    (MODELS[5], FLOWS[1], (1, 1)),
]


def wanted_of(model: sb.Model, flow: dict[str, Any], given: Any, masks: dict[str, Any]) -> dict[str, Any]:
    """The loss of the NumPy kernel, its gradients and the last states."""
    params, inputs, targets, state = given
    loss, grads = sb.compile(model, **flow).value_and_grad(params, inputs, targets, state, **masks)
    gradients = {**grads.params, **grads.inputs, **grads.state}
    return {"loss": loss, **{f"d{k}": v for k, v in gradients.items()}, **grads.final}


def by_torch(model: sb.Model, flow: dict[str, Any], given: Any, masks: dict[str, Any], backend: str) -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    params, inputs, targets, state = (
        {k: torch.tensor(v, requires_grad=v.dtype.kind == "f") for k, v in group.items()} for group in given
    )
    net = sb.torch(model, sizes_of(model), backend=backend, **flow).double()
    net.load_state_dict(params)
    loss, final = net(inputs, targets, state, **{k: torch.tensor(v) for k, v in masks.items()})
    loss.backward()
    leaves = {**dict(net.named_parameters()), **{k: v for k, v in {**inputs, **state}.items() if v.requires_grad}}
    found = {f"d{k}": torch.zeros_like(v) if v.grad is None else v.grad for k, v in leaves.items()}
    return {k: v.detach().numpy() for k, v in {"loss": loss, **final, **found}.items()}


def by_jax(model: sb.Model, flow: dict[str, Any], given: Any, masks: dict[str, Any], backend: str) -> dict[str, Any]:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        f = sb.jax(model, backend=backend, **flow)
        targets, names = given[2], {a.name for a in model.arguments if a.role == "const"}
        floats = {k: v for group in given for k, v in group.items() if v.dtype.kind == "f" and k not in targets}
        fixed = {k: floats.pop(k) for k in names & floats.keys()}

        def called(values: Any) -> Any:
            every = {**given[1], **fixed, **values}
            params, inputs, state = ({k: every[k] for k in given[i]} for i in (0, 1, 3))
            return f(params, inputs, targets, state, **masks)

        (loss, final), grads = jax.jit(jax.value_and_grad(called, has_aux=True))(floats)
        return {"loss": loss, **final, **{f"d{k}": v for k, v in grads.items()}}


@pytest.mark.peers
@pytest.mark.parametrize(("by", "backend"), [(by_torch, "native"), (by_torch, "kernel"), (by_jax, "native"), (by_jax, "kernel")],
                         ids=("torch", "torch-kernel", "jax", "jax-kernel"))  # fmt: skip
@pytest.mark.parametrize("case", range(len(MODEL_CASES)))
@pytest.mark.thinned(11, 17)
def test_models_equal_the_kernel(case: int, by: Any, backend: str) -> None:
    model, flow, lead = MODEL_CASES[case]
    given, masked = model_arguments(model, *lead), {} if lead[0] == 0 else masks(*lead)
    wanted, found = wanted_of(model, flow, given, masked), by(model, flow, given, masked, backend)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert_close(found[name], value, name, 1e-12)


@pytest.mark.peers
@pytest.mark.parametrize("by", [by_torch, by_jax])
@pytest.mark.parametrize("lead", [(0, 2), (3, 0)])
def test_clipped_chunks_take_no_step_and_no_sample(by: Any, lead: tuple[int, int]) -> None:
    given, flow = model_arguments(MODELS[1], *lead), FLOWS[3]
    found = by(MODELS[1], flow, given, {}, "native")
    for name, value in wanted_of(MODELS[1], flow, given, {}).items():
        assert_close(found[name], value, name, 1e-12)


@pytest.mark.peers
@pytest.mark.parametrize("by", [by_torch, by_jax])
@pytest.mark.parametrize("model", MODELS[1:4:2], ids=("every", "last"))
def test_padding_reaches_no_gradient(model: sb.Model, by: Any) -> None:
    """A sample without a step, and what lies behind the end of others, may hold anything."""
    masked = {"lengths": np.array([4, 0, 2])}
    given = model_arguments(model, 4, 3)
    wanted = wanted_of(model, {}, given, masked)
    for x in given[1], given[2]:
        for k, v in x.items():
            ended = np.arange(4)[:, None] >= masked["lengths"]
            x[k] = np.where((ended if len(v) == 4 else ended[0])[..., None], np.nan, v)
    found = by(model, {}, given, masked, "native")
    for name, value in wanted.items():
        assert_close(found[name], value, name, 1e-12)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("cell", "flow"), [*zip((*CELLS, *OF_CONTEXTS), cycle(FLOWS[1:]))], ids=lambda v: getattr(v, "name", "")
)
@pytest.mark.parametrize("compare", [compare_torch, compare_jax])
@pytest.mark.thinned(7, 11)
def test_cells_flow_back_as_the_kernel(compare: Any, cell: Any, flow: dict[str, Any]) -> None:
    compare(cell, 6, 3, True, **flow)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("by", "change", "said"),
    [
        (by_torch, ("    de = ", "    de = 1.1 * "), "d[VW]"),
        (by_torch, ("_clipped(carry, 0.3,", "_clipped(carry, 0.2,"), "d[WU]"),
        (by_torch, ("losses, number = ", "losses, _ = "), "loss"),
        (by_torch, ("REACH = 4", "REACH = 3"), "d[WU]"),
        (by_jax, ("REACH = 4", "REACH = 3"), "d[WU]"),
    ],
)
def test_planted_mistakes_of_a_model_are_seen(by: Any, change: tuple[str, str], said: str, monkeypatch: Any) -> None:
    model, flow = MODELS[1], FLOWS[3]
    given, masked = model_arguments(model, 7, 3), {"lengths": masks(7, 3)["lengths"]}
    wanted = wanted_of(model, flow, given, masked)
    source = native.source

    def changed(asked: Any) -> str:
        text = source(asked)
        assert change[0] in text
        return text.replace(*change)

    monkeypatch.setattr(native, "source", changed)
    found = by(model, flow, given, masked, "native")
    with pytest.raises(AssertionError, match=said):
        for name, value in wanted.items():
            assert_close(found[name], value, name, 1e-12)


@pytest.mark.peers
def test_models_are_differentiated_twice() -> None:
    torch, jax, model = pytest.importorskip("torch"), pytest.importorskip("jax"), MODELS[1]
    params, inputs, targets, state = model_arguments(model, 2, 2)
    options = masks(2, 2)
    torches = [{k: torch.tensor(v) for k, v in group.items()} for group in (params, inputs, targets, state)]
    value = module_of("torch", model).value

    def function(weight: Any, goal: Any, start: Any) -> Any:
        own, given, wanted, state = ({**group} for group in torches)
        own["W"], wanted["goal"], state["h"] = weight, goal, start
        loss, final = value(own, given, wanted, state, **{k: torch.tensor(v) for k, v in options.items()})
        return loss, *final.values()

    read = params["W"], targets["goal"], state["h"]
    tensors = [torch.tensor(v, requires_grad=True) for v in read]
    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)
    with jax.enable_x64(True):
        f = sb.jax(model)

        def slope(weight: Any) -> Any:
            return (jax.grad(lambda w: f({**params, "W": w}, inputs, targets, state, **options)[0])(weight) ** 2).sum()

        found = jax.jit(jax.grad(slope))(params["W"])
    loss = function(*tensors)[0]
    (first,) = torch.autograd.grad(loss, tensors[0], create_graph=True)
    (wanted,) = torch.autograd.grad((first**2).sum(), tensors[0])
    assert_close(found, wanted.numpy(), "second")


@pytest.mark.peers
@pytest.mark.long
def test_truncated_models_are_compiled_mapped_and_cast() -> None:
    torch = pytest.importorskip("torch")
    model = MODELS[0]
    net = sb.torch(model, sizes_of(model), truncation=sb.Chunked(2, 4), clip_adjoint=0.5)
    x, y = torch.randn(5, 2, SIZES["m"]), torch.randn(5, 2, SIZES["k"])
    net(x, y)[0].backward()
    wanted = net.U.grad.clone()
    weights = {k: v.detach() for k, v in net.state_dict().items()}

    def loss(own: Any, x: Any, y: Any) -> Any:
        return torch.func.functional_call(net, {**weights, **own}, (x.unsqueeze(1), y.unsqueeze(1)))[0]

    # The gradient of each sample alone: their sum is that of the batch.
    found = torch.func.vmap(torch.func.grad(loss), (None, 1, 1))({"U": weights["U"]}, x, y)
    assert torch.allclose(found["U"].sum(0), wanted, rtol=1e-4, atol=1e-5)
    net.zero_grad()
    torch.compile(lambda: net(x, y)[0], fullgraph=True, backend="aot_eager")().backward()
    assert torch.allclose(net.U.grad, wanted, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, final = net(x, y)
    value.backward()
    assert value.dtype == torch.float32 and final["h"].dtype == torch.bfloat16 and net.V.grad.dtype == torch.float32
    other = sb.torch(model, sizes_of(model), seed=1)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x, y)[0], net(x, y)[0])


@pytest.mark.peers
@pytest.mark.parametrize("cell", [gated, memory, branches, tables, selective, attend], ids=lambda cell: cell.name)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.thinned(3, 5)
def test_torch_differentiates_twice(cell: Any, masked: bool) -> None:
    torch = pytest.importorskip("torch")
    *given, _ = arguments(cell, 2, 2)
    options = {k: torch.tensor(v) for k, v in masks(2, 2).items()} if masked else {}
    run = module_of("torch", cell).run
    groups = [{k: torch.tensor(v, requires_grad=v.dtype.kind == "f") for k, v in group.items()} for group in given]
    names = [(i, k) for i, group in enumerate(groups) for k, v in group.items() if v.requires_grad]

    def function(*tensors: Any) -> Any:
        called = [dict(group) for group in groups]
        for (i, k), tensor in zip(names, tensors, strict=True):
            called[i][k] = tensor
        states, outputs, _ = run(*called, **options)
        return (*states.values(), *outputs.values())

    tensors = [groups[i][k] for i, k in names]
    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.peers
def test_a_wrong_second_derivative_is_seen() -> None:
    torch = pytest.importorskip("torch")
    params, inputs, state, _ = arguments(gated, 3, 2)
    groups = [{k: torch.tensor(v, requires_grad=True) for k, v in group.items()} for group in (params, inputs, state)]
    # What a Function saves beside its arguments and results is a constant to torch.
    run = module_of("torch", gated, ("if torch.is_grad_enabled():", "if False:")).run

    def function(W: Any) -> Any:
        return run({**groups[0], "Wf": W}, *groups[1:])[1]["y"]

    assert torch.autograd.gradcheck(function, groups[0]["Wf"])
    with pytest.raises(RuntimeError, match="mismatch"):
        torch.autograd.gradgradcheck(function, groups[0]["Wf"])


@pytest.mark.peers
def test_jax_differentiates_twice_maps_and_takes_bfloat16() -> None:
    jax = pytest.importorskip("jax")
    check_grads = pytest.importorskip("jax.test_util").check_grads
    with jax.enable_x64(True):
        params, inputs, state, _ = arguments(plain, 2, 2)
        f = sb.jax(plain)
        options = masks(2, 2)

        def values(*groups: Any) -> Any:
            return f(*groups, **options)

        check_grads(values, (params, inputs, state), order=2, modes=["rev"])
        many = jax.numpy.stack([inputs["x"], 2 * inputs["x"]])
        mapped = jax.jit(jax.vmap(lambda x: f(params, {"x": x}, state)[0]["h"]))(many)
        assert_close(mapped[1], f(params, {"x": 2 * inputs["x"]}, state)[0]["h"], "h")
        halves = [{k: jax.numpy.asarray(v, "bfloat16") for k, v in group.items()} for group in (params, inputs, state)]
        grads = jax.grad(lambda p: f(p, *halves[1:])[0]["h"].sum())(halves[0])
        assert {g.dtype.name for g in grads.values()} == {"bfloat16"}


@pytest.mark.peers
def test_a_loop_trains_alike_with_the_layer_of_torch_and_with_ours() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(4)
    layer, x, y = torch.nn.GRU(3, 6).double(), torch.randn(9, 4, 3).double(), torch.randn(9, 4, 2).double()
    first, head = {k: v.detach().clone() for k, v in layer.state_dict().items()}, torch.nn.Linear(6, 2).double()
    # Torch has two biases of each gate, which would move twice as far as their sum does.
    layer.bias_hh_l0.register_hook(lambda g: torch.cat((torch.zeros(12, dtype=g.dtype), g[12:])))
    net = sb.torch(zoo.gru, {"m": 3, "n": 6}).double()
    net.load_state_dict({k: torch.as_tensor(v) for k, v in from_torch(first, "gru")[0].items()})

    def losses(recurrent: Any, outputs: Any) -> list[float]:
        readout = copy.deepcopy(head)
        optimizer = torch.optim.Adam([*recurrent.parameters(), *readout.parameters()], lr=0.05)
        found = []
        for _ in range(6):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(readout(outputs(recurrent(x))), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    wanted = losses(layer, lambda found: found[0])
    assert wanted[-1] < 0.9 * wanted[0]
    assert np.allclose(losses(net, lambda found: found[0]["h"]), wanted, rtol=1e-12, atol=0)


@pytest.mark.peers
def test_a_loop_of_jax_trains_as_the_kernel_does() -> None:
    jax = pytest.importorskip("jax")
    model = MODELS[1]
    first, inputs, targets, state = model_arguments(model, 6, 3)
    kernel, ours, theirs = sb.compile(model), dict(first), dict(first)
    with jax.enable_x64(True):
        step = jax.jit(jax.value_and_grad(sb.jax(model), has_aux=True))
        for _ in range(5):
            (loss, _), grads = step(theirs, inputs, targets, state)
            wanted, found = kernel.value_and_grad(ours, inputs, targets, state)
            assert_close(loss, wanted, "loss", 1e-12)
            theirs = {k: v if k == "D" else v - 0.1 * grads[k] for k, v in theirs.items()}
            ours = {k: v if k == "D" else v - 0.1 * found.params[k] for k, v in ours.items()}


@pytest.mark.peers
def test_net_has_the_parameters_of_the_cell_in_any_type() -> None:
    torch = pytest.importorskip("torch")
    sizes = sizes_of(plain)
    net = sb.torch(plain, sizes, seed=3)
    first = plain.init(sizes, seed=3)
    assert [*net.state_dict()] == [*first] == [name for name, _ in net.named_parameters()]
    assert all(torch.equal(net.state_dict()[k], torch.from_numpy(v).float()) for k, v in first.items())
    assert all(p.is_contiguous() for p in net.parameters())
    x = torch.randn(4, 2, sizes["m"])
    outputs, final = net(x)
    assert torch.equal(outputs["h"][-1], final["h"]) and outputs["h"].dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, _ = net(x)
    outputs["h"].float().sum().backward()
    assert outputs["h"].dtype == torch.bfloat16 and net.W.grad.dtype == torch.float32
    half = net.to(torch.bfloat16)
    half(x.to(torch.bfloat16))[0]["h"].sum().backward()
    assert half.W.grad.dtype == torch.bfloat16


@pytest.mark.peers
@pytest.mark.parametrize("cell", [gated, tables, late, alone, attend], ids=lambda cell: cell.name)
@pytest.mark.thinned(1, 2)
def test_kernel_inside_equals_native(cell: Any) -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    params, inputs, state, options = arguments(cell, 4, 2)
    options |= masks(4, 2)
    found = {}
    for backend in ("native", "kernel"):
        net = sb.torch(cell, sizes_of(cell), backend=backend).double()
        net.load_state_dict({k: torch.tensor(v) for k, v in params.items()})
        tensors = ({k: torch.tensor(v) for k, v in group.items()} for group in (inputs, state))
        outputs, final = net(*tensors, **{k: v if k == "steps" else torch.tensor(v) for k, v in options.items()})
        sum((v**2).sum() for v in (*outputs.values(), *final.values())).backward()
        found["torch", backend] = {k: v.grad.numpy() for k, v in net.named_parameters()}
    with jax.enable_x64(True):
        for backend in ("native", "kernel"):
            f = sb.jax(cell, backend=backend)

            def loss(params: Any, f: Any = f) -> Any:
                states, outputs = f(params, inputs, state, **options)
                return sum(
                    (v**2).sum() for v in (*states.values(), *outputs.values(), *(v[-1] for v in states.values()))
                )

            found["jax", backend] = jax.jit(jax.grad(loss))(params)
    for name, wanted in found["torch", "native"].items():
        for other in found.values():
            assert_close(other[name], wanted, f"d{name}")


@pytest.mark.peers
@pytest.mark.skipif(not CC, reason="no C compiler, cc, on this machine")
def test_c_inside_equals_native(monkeypatch: Any) -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    monkeypatch.setattr(compiler, "WISHED", ("-O1",))
    params, inputs, state, _ = arguments(gated, 4, 2)
    options = masks(4, 2)
    nets = [
        sb.torch(gated, sizes_of(gated), backend=b, target=t).double()
        for b, t in (("native", "numpy"), ("kernel", "c"))
    ]
    for net in nets:
        net.load_state_dict({k: torch.tensor(v) for k, v in params.items()})
        tensors = ({k: torch.tensor(v) for k, v in group.items()} for group in (inputs, state))
        outputs, _ = net(*tensors, **{k: torch.tensor(v) for k, v in options.items()})
        sum((v**2).sum() for v in outputs.values()).backward()
    with jax.enable_x64(True):
        f = sb.jax(gated, backend="kernel", target="c")
        grads = jax.grad(lambda p: sum((v**2).sum() for part in f(p, inputs, state, **options) for v in part.values()))(
            params
        )
    for name, wanted in nets[0].named_parameters():
        assert_close(nets[1].get_parameter(name).grad.numpy(), wanted.grad.numpy(), f"d{name}", 1e-12)
        assert_close(grads[name], wanted.grad.numpy(), f"d{name}", 1e-12)
    for framework in (
        lambda **options: sb.torch(gated, sizes_of(gated), **options),
        lambda **options: sb.jax(gated, **options),
    ):
        with pytest.raises(sb.ArgumentError, match="write backend=\"kernel\", target='c'"):
            framework(target="c")
        with pytest.raises(sb.ArgumentError, match='target is "numpy", "c" or "auto"'):
            framework(backend="kernel", target="C")


@pytest.mark.peers
@pytest.mark.parametrize("model", [MODELS[4], MODELS[7]], ids=("every", "last"))
@pytest.mark.parametrize("lead", [(5, 3), (0, 2)])
def test_predictions_are_those_of_the_kernel(model: sb.Model, lead: tuple[int, int]) -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    params, inputs, _, state = model_arguments(model, *lead)
    masked = masks(*lead) if lead[0] else {}
    wanted = kernel_of(model).predict(params, inputs, state, **masked)
    net = sb.torch(model, sizes_of(model)).double()
    net.load_state_dict({k: torch.tensor(v) for k, v in params.items()})
    tensors = ({k: torch.tensor(v) for k, v in group.items()} for group in (inputs, state))
    found = net.predict(*tensors, **{k: torch.tensor(v) for k, v in masked.items()})
    with jax.enable_x64(True):
        mapped = jax.jit(sb.jax(model).predict)(params, inputs, state, **masked)
    assert found.keys() == mapped.keys() == wanted.keys() == {"logits"}
    assert_close(found["logits"].detach().numpy(), wanted["logits"], "torch")
    assert_close(mapped["logits"], wanted["logits"], "jax")
    with pytest.raises(ValueError, match='predicts nothing by name\n  end it with return {"loss"'):
        sb.torch(MODELS[0], sizes_of(MODELS[0])).predict(torch.zeros(2, 2, SIZES["m"]))


@pytest.mark.peers
@pytest.mark.long
def test_torch_compiles_it_as_one_graph() -> None:
    torch = pytest.importorskip("torch")
    net = sb.torch(gated, sizes_of(gated))
    x = {"x": torch.randn(3, 2, SIZES["m"])}
    net(x)[0]["y"].sum().backward()
    wanted = net.V.grad.clone()
    net.zero_grad()
    # Without the code generator of torch, which needs a compiler of the machine.
    compiled = torch.compile(lambda: net(x)[0]["y"].sum(), fullgraph=True, backend="aot_eager")
    compiled().backward()
    assert torch.allclose(net.V.grad, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.peers
@pytest.mark.parametrize("backend", ["native", "kernel"])
def test_states_that_are_not_given_begin_as_the_cell_says(backend: str) -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    params, inputs, _, _ = arguments(begun, 3, 2)
    kernel = kernel_of(begun)
    run = kernel.forward(params, inputs)
    wanted = kernel.backward(run, {"h": 2 * run.states["h"], "g": 2 * run.states["g"]}).params
    net = sb.torch(begun, sizes_of(begun), backend=backend).double()
    net.load_state_dict({k: torch.tensor(v) for k, v in params.items()})
    sum((v**2).sum() for v in net(torch.tensor(inputs["x"]))[0].values()).backward()
    with jax.enable_x64(True):
        f = sb.jax(begun, backend=backend)
        found = jax.grad(lambda p: sum((v**2).sum() for v in f(p, inputs)[0].values()))(params)
    for name, value in wanted.items():
        assert_close(getattr(net, name).grad.numpy(), value, f"d{name}")
        assert_close(found[name], value, f"d{name}")


@pytest.mark.peers
def test_wrong_arguments_are_named() -> None:
    torch = pytest.importorskip("torch")
    net = sb.torch(gated, sizes_of(gated))
    x = torch.randn(3, 2, SIZES["m"])
    for inputs, state, words in (
        ({"z": x}, None, "'z' is no input\n  known: x"),
        ({}, None, "the input 'x' is missing"),
        (x, {"h": torch.zeros(2, 9)}, r"h: the shape \(B, n\) = \(2, 4\) is expected, got \(2, 9\)"),
        (x.double(), None, "x: the type of all arrays is torch.float32, got torch.float64"),
    ):
        with pytest.raises(ValueError, match=words):
            net(inputs, state)
    with pytest.raises(sb.ArgumentError, match='backend: "native" or "kernel" is expected'):
        sb.torch(gated, sizes_of(gated), backend="c")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "lengths beyond the steps": ({"lengths": [9, 1]}, r"lengths: 0 to 5 steps are expected, got \[9, 1\]"),
    "a negative length": ({"lengths": [-1, 1]}, "lengths: 0 to 5 steps"),
    "lengths of another batch": ({"lengths": [1, 2, 3]}, r"lengths: integers of shape \(2,\) are expected"),
    "lengths that are floats": ({"lengths": [1.0, 2.0]}, "lengths: integers"),
    "resets that are floats": ({"reset": np.zeros((5, 2))}, r"reset: truth values of shape \(5, 2\) are expected"),
    "resets whose axes are exchanged": ({"reset": np.zeros((2, 5), bool)}, "reset: truth values"),
}


@pytest.mark.peers
@pytest.mark.parametrize("backend", ["native", "kernel"])
@pytest.mark.parametrize("name", BAD)
@pytest.mark.thinned(1, 5)
def test_masks_that_do_not_fit_are_refused_by_both(name: str, backend: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("jax")
    masks, said = BAD[name]
    sizes, x = {"m": 3, "n": 4}, np.zeros((5, 2, 3), np.float32)
    net, function = sb.torch(zoo.gru, sizes, backend=backend), sb.jax(zoo.gru, backend=backend)
    with pytest.raises(ValueError, match=said):
        net(torch.tensor(x), **masks)
    with pytest.raises(ValueError, match=said):
        function(zoo.gru.init(sizes, dtype=np.float32), {"x": x}, **masks)


@sb.loss
def of_label(h: State["n"], label: Index["n"]):
    return -sb.log_softmax(h)[label]


LABELS = sb.model(tables, of_label)
NO_INDEX: dict[str, tuple[dict[str, Any], str]] = {
    "a negative index": ({"token": np.full((3, 2), -1)}, "token: integers from 0 to 5 are expected, got -1 to -1"),
    "an index beyond its table": ({"token": np.full((3, 2), 6)}, "token: integers from 0 to 5"),
    "a negative label": (
        {"label": np.full((3, 2), -100)},
        "label: integers from 0 to 3 are expected, got -100 to -100",
    ),
    "a label beyond the classes": ({"label": np.full((3, 2), 4)}, "label: integers from 0 to 3"),
    "labels that are floats": ({"label": np.zeros((3, 2))}, "label: integers are expected, got .*float"),
    "tokens that are truths": ({"token": np.zeros((3, 2), bool)}, "token: integers are expected, got .*bool"),
    "another number of steps": ({"steps": 4}, "steps: 4 is given, the inputs have T = 3"),
    "steps that are no number": ({"steps": 2.5}, "steps: a number of steps is expected, got 2.5"),
}


@pytest.mark.peers
@pytest.mark.parametrize("name", NO_INDEX)
def test_what_is_no_index_is_refused_by_both(name: str) -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    change, said = NO_INDEX[name]
    given = [{k: change.get(k, v) for k, v in group.items()} for group in model_arguments(LABELS, 3, 2)]
    steps = {k: v for k, v in change.items() if k == "steps"}
    tensors = ({k: torch.tensor(v) for k, v in group.items()} for group in given[1:])
    with pytest.raises(ValueError, match=said):
        sb.torch(LABELS, {"n": 4, "v": 6}).double()(*tensors, **steps)
    with jax.enable_x64(True), pytest.raises(ValueError, match=said):
        sb.jax(LABELS)(*given, **steps)


@pytest.mark.peers
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
@pytest.mark.thinned(1, 2)
def test_indices_of_any_type_are_taken(dtype: Any) -> None:
    """Behind the end of a sample a label may say that nothing is there."""
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    given, masked = model_arguments(LABELS, 3, 2), {"lengths": np.array([3, 0], dtype)}
    wanted = sb.compile(LABELS).value(*given, **masked)
    params, inputs, targets, state = given
    inputs, targets = ({k: v.astype(dtype) for k, v in group.items()} for group in (inputs, targets))
    targets["label"][:, 1] = np.array(-1).astype(dtype)
    net = sb.torch(LABELS, {"n": 4, "v": 6}).double()
    net.load_state_dict({k: torch.tensor(v) for k, v in params.items()})
    tensors = ({k: torch.tensor(v) for k, v in group.items()} for group in (inputs, targets, state))
    assert_close(net(*tensors, **masked)[0].detach().numpy(), wanted, "loss", 1e-12)
    with jax.enable_x64(True):
        assert_close(sb.jax(LABELS)(params, inputs, targets, state, **masked)[0], wanted, "loss", 1e-12)


@pytest.mark.peers
def test_arguments_that_tell_no_type_or_size_are_refused() -> None:
    torch = pytest.importorskip("torch")
    namespace: dict[str, Any] = {}
    exec(sb.torch_source(alone), namespace)
    state, params = torch.zeros(2, 4), {"A": torch.zeros(4, 4), "h_first": torch.zeros(4)}
    for changed, start, steps, words in (
        ({k: v.long() for k, v in params.items()}, state, 2, "A: floating-point numbers are expected, got torch.int64"),
        (params, torch.tensor(1.0), 2, "h: an axis of samples is expected, got a scalar"),
        (params, state, -1, "steps: a number of steps is expected, got -1"),
    ):
        with pytest.raises(ValueError, match=words):
            namespace["run"](changed, None, {"h": start}, steps=steps)
    with pytest.raises(ValueError, match="the size 'n' must be a positive integer, got 0"):
        namespace["Net"]({"n": 0})
    net = sb.torch(plain, sizes_of(plain), backend="kernel").bfloat16()
    with pytest.raises(ValueError, match='backend="kernel" takes float32 and float64, got torch.bfloat16'):
        net(torch.zeros(3, 2, 3, dtype=torch.bfloat16))


@pytest.mark.peers
def test_what_is_no_tensor_is_refused_with_what_to_write() -> None:
    torch = pytest.importorskip("torch")
    net = sb.torch(zoo.gru, {"m": 3, "n": 4})
    with pytest.raises(ValueError, match="inputs: a dict of tensors by name is expected, got ndarray"):
        net(np.zeros((5, 2, 3), np.float32))
    with pytest.raises(ValueError, match=r"x: a tensor is expected, got ndarray\n  write torch.as_tensor\(x\)"):
        net({"x": np.zeros((5, 2, 3), np.float32)})
    with pytest.raises(ValueError, match="x: axes of steps and samples are expected"):
        net({"x": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"got the shape \(5, 3\)\n  write x\[:, None\] for one sample"):
        net(torch.zeros(5, 3))
