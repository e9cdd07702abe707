"""Runs mutants of generated modules through every level of `sb.verify`: `python -m tests.mutants.run FOLDER [--share 0.1]`.

Each mutant is tried on calls that users make (`calls.py`), then on each level by itself. Results are lines of JSON in a file of
the folder, one file a subject; what is there is not run again, so that a run may be stopped, and a larger share goes on from it.
"""

import argparse
import json
import random
import resource
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import symbptt as sb
from symbptt.codegen.kernel import Kernel
from symbptt.verification.proof.general_loss import general_loss
from symbptt.verification.proof.settings import BYTES
from tests.cells import odd
from tests.mutants.calls import Battery
from tests.mutants.edits import Mutant, mutants, texts_of
from tests.mutants.levels import HEALTHY, SATURATED, Levels, with_text

CELLS = (
    "lstm",
    "gru",
    "min_gru",
    "attention",
    "mlstm",
    "gru_layer_norm",
    "retnet",
    "selective_ssm",
    "stack_rnn",
    "lru",
    "alif",
    "delta_rule",
)
OPTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("lstm", "", {"memory": "sqrt"}), ("lstm", "", {"memory": BYTES}), ("lstm", "", {"truncation": sb.Window(2)}),
    ("lstm", "", {"truncation": sb.Chunked(2, 3)}), ("min_gru", "", {"memory": "sqrt"}), ("min_gru", "", {"truncation": sb.Chunked(3, 2)}),
    ("gru", "every sum", {}), ("gru", "last mean", {}), ("min_gru", "every mean", {"memory": "sqrt"}), ("lstm", "last sum", {"truncation": sb.Window(2)}),
    ("gru", "every sum", {"memory": BYTES}), ("lstm", "every mean", {"truncation": sb.Chunked(2, 3)}),
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A kernel whose module is edited, and the mutants of the functions that no subject before it has."""

    name: str
    kernel: Kernel
    mutants: tuple[Mutant, ...]


def kernel_of(name: str, loss: str, options: dict[str, Any]) -> Kernel:
    """Return the kernel of a cell, or of a model with a loss that reads every value."""
    cell = odd if name == "odd" else getattr(sb.zoo, name)
    at, _, reduction = loss.partition(" ")
    target: Any = sb.model(cell, general_loss(cell), at=at, reduction=reduction) if loss else cell
    return sb.compile(target, **options)


def subjects() -> Iterator[Subject]:
    """Yield all subjects. Functions that several modules have are edited in the first; the order of mutants is drawn by a seed."""
    known: frozenset[str] = frozenset()
    for name, loss, options in [*((name, "", {}) for name in (*CELLS, "odd")), *OPTIONS]:
        kernel = kernel_of(name, loss, options)
        found = list(mutants(kernel.source, known))
        random.Random(2026).shuffle(found)
        known |= texts_of(kernel.source)
        words = " ".join([name, *([f"loss {loss}"] if loss else []), *(f"{k}={v}" for k, v in options.items())])
        yield Subject(words, kernel, tuple(found))


def tried(mutant: Mutant, levels: Levels, healthy: Battery, saturated: Battery, all_levels: bool) -> dict[str, Any]:
    """Return what a mutant changes, and which levels catch it; of one that raises an error nothing more."""
    kernel = with_text(levels.kernel, mutant.text)
    found: dict[str, Any] = {
        "kind": mutant.kind,
        "function": mutant.function,
        "line": mutant.line,
        "before": mutant.before,
        "after": mutant.after,
    }
    found["healthy"] = healthy.changed_by(kernel)
    if found["healthy"].startswith("raises"):
        return found
    found["saturated"] = saturated.changed_by(kernel)
    found["proof"] = levels.proof(kernel)
    changes = bool(found["healthy"] or found["saturated"])
    if all_levels or (changes and not found["proof"]):
        found["numeric"] = levels.numeric(kernel, HEALTHY)
        if found["saturated"] or (changes and not found["numeric"]):
            found["numeric saturated"] = levels.numeric(kernel, SATURATED)
    return found


class EndlessError(BaseException):
    """A mutant does not end."""


def _stop(*_: Any) -> None:
    raise EndlessError


MEMORY = 2**31
"""The bytes that a call may take beside what the process has."""


def within(seconds: float, work: Callable[[], dict[str, Any]], otherwise: dict[str, Any]) -> dict[str, Any]:
    """Return what a call returns, or another value where it takes longer in processor time; more than so much memory it does not get."""
    # A loop that does not end may hold all memory of the machine before its time is over.
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, limits[1]))
    signal.signal(signal.SIGVTALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        return work()
    except EndlessError:
        return otherwise
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _address_space() -> int:
    """The bytes of addresses that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=0.05, help="of all mutants of a subject")
    parser.add_argument("--numeric", type=int, default=6, help="every how many mutants all levels are run")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    for number, subject in enumerate(subjects()):
        path = given.folder / f"{number:02}.jsonl"
        done = len(path.read_text().splitlines()) - 1 if path.exists() else -1
        levels = Levels(subject.kernel)
        batteries = [Battery(subject.kernel, (regime,)) for regime in ("healthy", "saturated")]
        start = time.process_time()
        with path.open("a") as file:
            if done < 0:
                print(json.dumps({"subject": subject.name, "mutants": len(subject.mutants)}), file=file)
            for i, mutant in enumerate(subject.mutants[: max(round(given.share * len(subject.mutants)), 12)]):
                if i >= done:
                    endless = {"kind": mutant.kind, "function": mutant.function, "line": mutant.line, "before": mutant.before,
                               "after": mutant.after, "healthy": "raises: does not end"}  # fmt: skip
                    found = within(8, partial(tried, mutant, levels, *batteries, not i % given.numeric), endless)
                    print(json.dumps(found), file=file, flush=True)
        print(f"{subject.name}: {len(subject.mutants)} mutants, {time.process_time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
