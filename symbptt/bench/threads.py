"""One thread for every library that takes part in a comparison."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator

from symbptt.errors import SymbpttError
from symbptt.extras import cure

SINGLE = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Hold NumPy's matrix products, torch and JAX at one thread.

    JAX reads its flags when it is first used, so that this comes before.

    Raises: SymbpttError where threadpoolctl is not installed.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise SymbpttError(
            f"one thread needs threadpoolctl, which is not installed\n  {cure('threadpoolctl', 'bench')}"
        ) from error
    flags = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{flags or ''} {SINGLE}".strip()
    try:
        with threadpool_limits(1), _torch_threads():
            yield
    finally:
        del os.environ["XLA_FLAGS"]
        os.environ.update({} if flags is None else {"XLA_FLAGS": flags})


@contextlib.contextmanager
def _torch_threads() -> Iterator[None]:
    if importlib.util.find_spec("torch") is None:
        yield
        return
    import torch

    # torch has a thread pool of its own, which threadpoolctl does not always reach.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
