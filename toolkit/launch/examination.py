"""`toolkit eval` and `recipes/evaluate.py`: a policy is asked once, and judged as often as anybody likes.

The folder keeps the completions with what decides them; whoever measures the same policy on the same problems again
gets these, not new ones, and one that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import runs
from toolkit.backends.base import Generation, Sampling
from toolkit.data.schema import WORKED_SOLUTION, Row
from toolkit.display.console import console, say
from toolkit.display.progress import progress
from toolkit.errors import BackendError, DataError, RunFolderError, first_line, is_out_of_memory
from toolkit.findings import Finding
from toolkit.launch.opened import Opened, open_policy
from toolkit.rewards.completions import FINISH_REASON, TRUNCATED
from toolkit.runs.completions import PARQUET, files_of, read_rows, step_of
from toolkit.runs.names import EVALUATION, SETTINGS
from toolkit.runs.reader import read_json
from toolkit.settings import flatten
from toolkit.settings.measuring import Measuring

if TYPE_CHECKING:
    from toolkit.evaluation.run import Exam, Judged, Measurement

RECIPE = "evaluate"
SAMPLED, TRAINED = "sampled", "trained"
"""Names of the files of completions: one a problem, n a problem, one of each known problem beside hidden ones."""


@dataclass
class Examination:
    """One measurement of one policy, from its problems to its figures."""

    asked: Measuring
    opened: Opened
    rows: list[Row]
    """The problems of the split."""
    trained: list[Row]
    """As many that it was trained on, where the split is `hidden`."""
    folder: Path
    run: runs.Run | None = None
    result: dict[str, Any] = field(default_factory=dict)
    """The figures so far, as `--json` prints them."""
    findings: list[Finding] = field(default_factory=list)
    keys: dict[str, Any] = field(default_factory=dict)
    """What decides the completions that were sampled now, by the name of their file."""

    @classmethod
    def prepare(cls, asked: Measuring) -> Examination:
        """Find everything out that needs no model.

        Raises:
            ToolkitError: see `Measuring.check`, `open_policy`, `data.load`, `breakdown.labels`.
        """
        from toolkit.evaluation import breakdown

        asked.check()
        opened = open_policy(
            asked.policy, asked.changes(), asked.base, n_eval=asked.n_eval, hidden=asked.split == "hidden"
        )
        rows, trained = _rows(opened, asked)
        if asked.by is not None:
            breakdown.labels(rows, asked.by, opened.problems.name)
        folder = asked.output_dir or Path("evals") / f"{opened.named.label}-{asked.split}-{_digest(opened, asked)}"
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not _is_ours(folder))):
            raise RunFolderError(f"--output_dir {folder} holds something else", "a new folder, or one of toolkit eval")
        return cls(asked, opened, rows, trained, folder)

    @contextmanager
    def open(self) -> Iterator[Examination]:
        """Make the folder, or take it up again, and load the policy."""
        from toolkit.machine.provenance import recorded

        settings = recorded(self.opened.settings)
        self.run = runs.reopen(self.folder) if _is_ours(self.folder) else runs.create(RECIPE, self.folder, settings)
        try:
            self.run.update(SETTINGS, requested=settings, asked=asdict(self.asked))
            self.run.documents.setdefault(EVALUATION, _document(self.folder))
            self.opened.load()
            self.rows, self.trained = _rows(self.opened, self.asked)  # those within the prompt budget
            yield self
        except BaseException as error:
            if not self.run.resumed and not self.run.completions.exists():
                self.run.remove()
            if is_out_of_memory(error):
                found = f"out of GPU memory ({first_line(error)}); what was sampled is kept in {self.folder}"
                raise BackendError(found, "less at a time", "a shorter --max_completion_length") from error
            raise
        finally:
            self.run.close()

    def sample(self, name: str, rows: Sequence[Row], n: int = 1, temperature: float = 0.0) -> list[Generation]:
        """`n` completions of each row, one row's after another's: those that the folder has, or new ones."""
        from toolkit.evaluation.sample import Journal, key_of, sample

        run, policy, backend = self._run(), self.opened.loaded, self.opened.backend
        settings = self.opened.settings
        seed = settings.record.seed if temperature > 0 else None
        longest = settings.rollout.max_completion_length
        sampling = Sampling(longest, temperature, backend.batch_size(policy), seed)
        prompts = [row["prompt"] for row in rows for _ in range(n)]
        key = key_of(prompts, sampling, n=n, policy=identity(self.opened))
        kept = run.document(EVALUATION).get("keys", {}).get(name)
        path = run.completions / f"{name}{PARQUET}"
        if kept == json.loads(json.dumps(key)) and path.exists():
            told, _ = read_rows(path)
            if len(told) == len(prompts):
                return [Generation(t["completion"], t["n_tokens"], t[FINISH_REASON] == TRUNCATED) for t in told]
        journal = Journal(run.completions / f"{name}.part", key)
        with progress(console, f"{name} completions") as show:
            found = sample(backend, policy, prompts, sampling, journal, None if self.asked.json else show)
        self.keys[name] = key
        return found

    def judge(self, name: str, rows: Sequence[Row], generations: Sequence[Generation], n: int = 1) -> list[Judged]:
        """Each completion judged by what measures and by every reward of the run; kept with its scores."""
        from toolkit.evaluation.run import figures, judge, texts

        run, exam = self._run(), self.exam(rows)
        each = [row for row in exam.rows for _ in range(n)]
        judged = judge(exam, each, generations, self.opened.loaded.tokenizer)
        mark = figures(exam, judged).pass_score
        places = ({"row": i // n, "sample": i % n} for i in range(len(each)))
        lines = texts(exam, each, judged, mark)
        run.write_completions(name, [place | line for place, line in zip(places, lines, strict=True)])
        if name in self.keys:
            keys = run.document(EVALUATION).get("keys", {}) | {name: self.keys[name]}
            run.update(EVALUATION, keys=keys)
        (run.completions / f"{name}.part").unlink(missing_ok=True)
        return judged

    def exam(self, rows: Sequence[Row]) -> Exam:
        """How the run is measured; rewards see the columns that they saw in training."""
        return self.opened.exam([{k: v for k, v in row.items() if k != WORKED_SOLUTION} for row in rows])

    def figures(self, rows: Sequence[Row], judged: Sequence[Judged]) -> Measurement:
        """What judged completions come to; as a run measures before and after."""
        from toolkit.evaluation.run import figures

        return figures(self.exam(rows), judged)

    def measure(self, name: str, rows: Sequence[Row]) -> Measurement:
        """Greedy completions of these rows, judged, and what they come to."""
        return self.figures(rows, self.judge(name, rows, self.sample(name, rows)))

    def introduce(self) -> None:
        """Say what is measured, by which engine, and what there is to know of it."""
        for line in (self.opened.session.reason, *self.opened.notes, *self.opened.problems.report):
            say(line)

    def conclude(self) -> dict[str, Any]:
        """Write the figures, and return them as `--json` prints them."""
        from toolkit.display.findings import WORDS

        self.result["findings"] = [finding.as_json(WORDS) for finding in self.findings]
        run = self._run()
        run.write(EVALUATION, {"keys": run.document(EVALUATION).get("keys", {}), **self.result})
        return self.result

    def _run(self) -> runs.Run:
        if self.run is None:
            raise RuntimeError("this is to be done inside open()")
        return self.run


def identity(opened: Opened) -> str:
    """What tells a policy's weights: a digest of the adapter, and of a folder's weights their sizes and times."""
    told = hashlib.sha256(opened.settings.model.model.encode())
    told.update(f"4bit {opened.settings.model.load_in_4bit}, {opened.backend.name}".encode())
    if opened.named.adapter is not None:
        told.update((opened.named.adapter / "adapter_model.safetensors").read_bytes())
    if os.path.isdir(opened.source):
        for path in sorted(Path(opened.source).glob("*.safetensors")):
            told.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    return told.hexdigest()[:16]


def _digest(opened: Opened, asked: Measuring) -> str:
    """Of what decides the completions, and nothing that only judges them."""
    settings = opened.settings
    decides = {
        **flatten(settings.data),
        "max_completion_length": settings.rollout.max_completion_length,
        "temperature": settings.rollout.temperature,
        "seed": settings.record.seed,
        "n_samples": asked.n_samples,
        "policy": identity(opened),
    }
    return hashlib.sha256(json.dumps(decides, default=str, sort_keys=True).encode()).hexdigest()[:8]


def _rows(opened: Opened, asked: Measuring) -> tuple[list[Row], list[Row]]:
    """The problems of the split, and beside hidden ones as many that the run was trained on."""
    problems, n = opened.problems, asked.n_eval or opened.settings.data.n_eval
    if asked.split == "held_out":
        return problems.held_out[:n], []
    if asked.split == "train":
        return _trained_on(opened)[:n], []
    if not problems.hidden or not opened.had_hidden:
        raise DataError(
            f"{opened.named.name} was trained on all rows of {problems.name} that it did not measure on",
            "a run that has kept some hidden",
            "train it with --n_hidden 256, or --split held_out",
        )
    return problems.hidden[:n], _trained_on(opened)[: len(problems.hidden[:n])]


def _trained_on(opened: Opened) -> list[Row]:
    """Training rows, each question once; where the run has kept its completions, those that it really asked."""
    each = {row["question"]: row for row in opened.problems.train}
    if opened.named.run is None:
        return list(each.values())
    files = [path for name, path in files_of(opened.named.run).items() if step_of(name) is not None]
    seen = dict.fromkeys(row.get("prompt") for path in files for row in read_rows(path)[0])
    return [each[prompt] for prompt in seen if prompt in each] or list(each.values())


def _is_ours(folder: Path) -> bool:
    try:
        return read_json(folder / SETTINGS).get("recipe") == RECIPE
    except RunFolderError:
        return False


def _document(folder: Path) -> dict[str, Any]:
    path = folder / EVALUATION
    return read_json(path) if path.exists() else {}
