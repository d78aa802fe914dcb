"""The Python face: a run begun, loaded, looked at and sampled from, in a line each.

    run = rlgan.train("seqgan", data=lines, reward=my_function)
    run.sample(5, temperature=0.9)

It does what the command line does, by the same code. What is public here is named in `rlgan` too. Nothing below is
imported with `rlgan` itself, and pandas and matplotlib only where they are asked for.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgan.base.errors import CheckpointError, ConfigError, DataError, RlganError
from rlgan.base.files import cannot_write, write_atomically
from rlgan.base.settings import Settings
from rlgan.config.config import Config
from rlgan.config.paths import from_kept, merge, override, to_dict, variants_at
from rlgan.envs.tasks import TaskSettings
from rlgan.envs.tasks.encoding import encode_texts
from rlgan.envs.transition import sequence_mask
from rlgan.evaluation.verdict import Verdict, read_verdict
from rlgan.extensions import PluginKind, known, register
from rlgan.generators import Draw
from rlgan.presets.effects import require_effect
from rlgan.presets.registry import preset as preset_named
from rlgan.report.final_table import TABLE
from rlgan.report.tables import learning_curves
from rlgan.runs.data import kept_data, located
from rlgan.runs.progress import Progress, Silence
from rlgan.runs.publishing import LAST_FILE
from rlgan.runs.reward_function import reward_of_run
from rlgan.runs.run import RunRequest, new_folder
from rlgan.runs.run import run as run_it
from rlgan.storage.checkpoint import CONFIG, read_run_config
from rlgan.storage.discriminator_export import DISCRIMINATOR_FILES
from rlgan.storage.export import Decoding, ExportedGenerator, load_run_generator
from rlgan.storage.places import Place, fetch, is_uri, open_place
from rlgan.tracking import fetch as fetch_model
from rlgan.tracking import find_generator

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from rlgan.policy.adversarial_reward import AdversarialReward
    from rlgan.policy.reward_base import LogitMap
    from rlgan.training.callbacks import Callback
    from rlgan.tuning.sweep import SweepResult

DATA_FILE = "data.jsonl"
"""Name of the file of a run's folder that holds the data of a run that was given lists of strings."""

_SHOWN_VERDICT = 160  # characters of a line of `repr`
_TITLE = re.compile(r"=== (mle \d+|discriminator \d+|adversarial \d+|final)")
_KINDS: dict[str, PluginKind] = {
    "reward": "reward",
    "generator": "generator",
    "discriminator": "discriminator",
    "task": "task",
    "evaluation.metrics": "metric",
    "callbacks": "callback",
}
"""Setting → what a function or class that is given for it stands for."""

# ------------------------------------------------------------------------------------------------------ training


def train(
    preset: str | Callable[..., Any] | Config = "quick",
    *,
    data: str | Path | Iterable[Any] | None = None,
    tokens: str | None = None,
    reward: Any = None,
    generator: Any = None,
    discriminator: Any = None,
    callbacks: Sequence[Callback | type[Callback]] = (),
    out: str | Path | None = None,
    storage: str | None = None,
    seed: int | None = None,
    quiet: bool = False,
    settings: Mapping[str, Any] | None = None,
    **axes: Any,
) -> Run:
    """Train a generator, and compare it with its controls.

    Ctrl-C (in a notebook: interrupt the kernel) ends the run after a checkpoint; `Run.resume` goes on with it. Where
    Ray is already initialised, its cluster is used and left as it is.

    Args:
        preset: name of one that ships (`rlgan.presets.names()`), a function that is one, or a whole configuration.
        data: what to learn from: the path of a file with one sequence a line, row or record; or a list of strings, one
            a sequence; or pairs, as a list of (source, target), or as two lists (sources, targets). Lists are written
            into the run's folder. None takes the task of the preset, or of `task`.
        tokens: what a token of `data` is: "word" (the default), "char", "bpe", "smiles".
        reward: what a sequence is rewarded by: a name, a function of one's own or its FILE.py:NAME, or a mapping of
            settings.
        generator: the network: a name, a class of one's own, or a mapping of settings such as {"hidden": 64}.
        discriminator: the same of the discriminator.
        callbacks: see each iteration, and may end training; classes are built without arguments.
        out: folder of the run; None names one below `runs`.
        storage: URI of a shared storage where the run is kept, too.
        seed: of the run; None takes the configuration's (0).
        quiet: whether nothing is shown.
        settings: dotted path → value: {"schedule.g_batch": 64}.
        axes: settings by the name of an axis: a value, or a mapping of what lies below it: credit="terminal",
            schedule={"g_batch": 64}.

    Returns:
        The run, complete or stopped.

    Raises:
        RlganError: bad input, with what to do; nothing was written then.
        UploadError: the run is complete or stopped, and its folder did not get into its storage.
    """
    named = {"reward": reward, "generator": generator, "discriminator": discriminator}
    asked = {name: value for name, value in named.items() if value is not None} | axes
    if seed is not None:
        asked["seed"] = seed
    with _in_words_of_python():
        place = None if storage is None else open_place(storage, "storage")
        task_values, rows = _task_of(data, tokens)
        whole = asked.get("task")
        if isinstance(whole, Settings) or (isinstance(whole, Mapping) and "kind" in whole):
            if task_values is not None:
                raise ConfigError(
                    "task: cannot be combined with data, which defines the task. Remove one of the two.",
                    code="task_and_data",
                )
            task_values = to_dict(whole) if isinstance(whole, Settings) else dict(whole)
            del asked["task"]
        changes = merge(_flat(asked), _flat(settings or {}))
        if task_values is not None and "task" in changes:
            raise ConfigError(
                "task: cannot be combined with data, which defines the task. Remove one of the two.",
                code="task_setting_and_data",
            )
        task = _own_task(changes) if task_values is None else _as_task(task_values)
        config = _changed(_base(preset, task), changes)
        run_dir = None if out is None else Path(out)
        request = RunRequest(config, run_dir, resume=False, storage=place)
        with ExitStack() as stack:
            if rows is not None:
                if run_dir is not None and (run_dir / CONFIG).exists():
                    raise CheckpointError(
                        (
                            f"out={str(run_dir)!r}: already contains a run. Continue it with "
                            f"rlgan.load({str(run_dir)!r}).resume(), or use another folder."
                        ),
                        code="api_out_exists",
                        fields={"out": str(run_dir)},
                    )
                request = stack.enter_context(_with_rows(request, rows))
            return Run(run_it(request, _built(callbacks), _progress(quiet)).run_dir)


def load(source: str | Path, *, trust_code: bool = False, tracking_uri: str | None = None) -> Run:
    """A run that exists, or a registered generator.

    Args:
        source: folder of a run, its URI in a storage, or models:/NAME/VERSION or models:/NAME@ALIAS.
        trust_code: whether code of somebody's own that came along may be executed; see `rlgan.extensions.admit`.
        tracking_uri: of the MLflow server that has the model; None takes MLFLOW_TRACKING_URI, else runs/mlruns.db.

    Raises:
        CheckpointError: there is no run.
        StorageError: the storage cannot be read.
        TrackingError: the server cannot be reached, or has no such model.
    """
    address = str(source)
    with _in_words_of_python():
        if address.startswith("models:/"):
            found = find_generator(tracking_uri, address)
            return Run(
                _Fetched(lambda stack: stack.enter_context(fetch_model(found.uri, found.address))),
                source=found.address,
                temperature=found.temperature,
                trust_code=trust_code,
                tracking_uri=tracking_uri,
            )
        if is_uri(address):
            return Run(_fetched(address), source=address, trust_code=trust_code)
        read_run_config(Path(source))
        return Run(Path(source), trust_code=trust_code)


def compare(*runs: Run | str | Path) -> pandas.DataFrame:
    """Final tables of runs, one below the other.

    Args:
        runs: at least one, each with a final table.

    Returns:
        The rows of `Run.table`, with the run's folder or address in the first column, "run".

    Raises:
        ConfigError: no run is given.
        CheckpointError: a run has no table yet.
    """
    import pandas

    if not runs:
        raise ConfigError("compare: no run is given. Give at least one run or folder of a run.", code="compare_no_run")
    loaded = [one if isinstance(one, Run) else load(one) for one in runs]
    tables = []
    for one in loaded:
        table = one.table
        table.insert(0, "run", one.source)
        tables.append(table)
    return pandas.concat(tables, ignore_index=True)


def discriminator_reward(
    run: Run | str | Path,
    reward: LogitMap | str | None = None,
    tracking_uri: str | None = None,
    *,
    trust_code: bool = False,
) -> AdversarialReward:
    """The discriminator of a run as the reward function of an environment.

    Args:
        run: the run, its folder, or models:/NAME/VERSION.
        reward: map of the logit, or its name: "logit" is the raw one; None takes the run's own.
        tracking_uri: of the MLflow server that has the model.
        trust_code: whether code that came along may be executed, as for `load`; a run that was loaded so is trusted.

    Returns:
        A function of tokens (B, T) and mask (B, T) to rewards (B,), with the `space` of its sequences.

    Raises:
        CheckpointError: there is no discriminator.
        ConfigError: no such map; or none is asked for, and the run's reward is no map of the logit alone.
    """
    with _in_words_of_python():
        if isinstance(run, Run):
            return reward_of_run(run.folder, reward, tracking_uri, trust_code=trust_code or run.trusts_code)
        return reward_of_run(run, reward, tracking_uri, trust_code=trust_code)


def tune(
    study: str | Path,
    *,
    data: str | Path | Iterable[Any] | None = None,
    tokens: str | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **search: Any,
) -> SweepResult:
    """Search which settings matter, and whether any of it beats likelihood; docs/sweeps.md.

    Args:
        study: name of one that ships, or a file of one's own in .toml or .py.
        data: as for `train`; None takes the study's own task.
        tokens: as for `train`.
        out: folder of the sweep; None names one below `runs`.
        settings: of the base configuration: dotted path → value, or mappings.
        quiet: whether nothing is shown.
        search: how it is searched: trials=20, search="tpe", and what else `rlgan tune --help` lists.

    Returns:
        What came of it; the folder's report/ has the page.

    Raises:
        RlganError: bad input, with what to do.
    """
    from pydantic import ValidationError

    from rlgan.cli.typed import train_command
    from rlgan.config.paths import refused
    from rlgan.tuning.search.settings import SweepSettings
    from rlgan.tuning.space.ready import READY
    from rlgan.tuning.space.studies import load_study
    from rlgan.tuning.sweep import SweepRequest, sweep

    with _in_words_of_python():
        try:
            how = SweepSettings.model_validate(search)
        except ValidationError as error:
            raise refused(error) from None
        found = load_study(str(study))
        values, rows = _task_of(data, tokens)
        folder = Path(out or Path("runs") / f"tune-{found.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        if rows is not None:
            assert values is not None
            path = _write_rows(rows, folder)
            values["input" if "input" in values else "data"] = (
                {"kind": "file", "data": str(path)} if "input" in values else str(path)
            )
        task = None if values is None else _as_task(values)
        changes = merge({}, _flat(settings or {}))
        request = SweepRequest(
            study=found,
            task=task,
            changes=changes,
            settings=how,
            folder=folder,
            resume=False,
            words={
                "study": str(study) if study in READY else str(Path(study).resolve()),
                "task": None if task is None else to_dict(task),
                "changes": changes,
                "settings": how.model_dump(mode="json", exclude_unset=True),
            },
            command_of=train_command,
        )
        return sweep(request, (lambda _: None) if quiet else _say)


def _say(line: str) -> None:
    print(line, flush=True)


# ------------------------------------------------------------------------------------------------------ runs


class Run:
    """A run that is complete, stopped or under way: what it logged, what came of it, and its generator.

    Everything is read from its folder when it is asked for, so that a run under way is seen as it stands.

    Args:
        folder: of the run.
        source: how it was named, where that is not the folder.
        temperature: at which it samples unless another is asked for.
        trust_code: whether code that came along with the run may be executed.
        tracking_uri: of the MLflow server that the model is from.
    """

    def __init__(
        self,
        folder: Path | _Fetched,
        source: str | None = None,
        temperature: float = 1.0,
        trust_code: bool = False,
        tracking_uri: str | None = None,
    ) -> None:
        self._fetched = None if isinstance(folder, Path) else folder
        self.folder = folder if isinstance(folder, Path) else folder.folder
        self.source = str(self.folder) if source is None else source
        self._temperature, self.trusts_code, self._tracking_uri = temperature, trust_code, tracking_uri

    def __repr__(self) -> str:
        if not self._is_run:
            return f"Run {self.source}\n  a registered generator\n  it samples at temperature {self._temperature:g}"
        config = self.config
        state = "finished" if self.is_finished else "not finished; .resume() continues it"
        verdict = None if not self.is_finished else self.verdict
        said = "no verdict" if verdict is None or not verdict.sentences else verdict.sentences[0]
        return (
            f"Run {self.source}: preset {config.preset}, task {config.task.kind}, seed {config.seed}\n"
            f"  {state}; generator {config.generator.kind}, reward {config.reward.kind}\n"
            f"  {said if len(said) <= _SHOWN_VERDICT else said[: _SHOWN_VERDICT - 1] + '…'}"
        )

    @property
    def _is_run(self) -> bool:
        return (self.folder / CONFIG).exists()

    def _require_run(self, what: str) -> None:
        if not self._is_run:
            raise CheckpointError(
                f"{self.source}: is a registered generator and has no {what}. Load the folder of its run.",
                code="model_without_run",
                fields={"source": self.source},
            )

    @property
    def is_finished(self) -> bool:
        """Whether the final table is there."""
        return (self.folder / LAST_FILE).exists()

    @property
    def config(self) -> Config:
        """The whole configuration."""
        self._require_run("configuration")
        return from_kept(read_run_config(self.folder))

    @property
    def metrics(self) -> pandas.DataFrame:
        """What was logged: a row an iteration, with "phase", "step", "unit", and a column a metric; docs/metrics.md."""
        import pandas

        rows = [
            {name: value for name, value in row.items() if name != "metrics"} | row["metrics"] for row in self._rows()
        ]
        return pandas.DataFrame(rows)

    def _rows(self) -> list[dict[str, Any]]:
        self._require_run("metrics")
        text = self._text("metrics.jsonl", "no metrics yet")
        # The last line of a run under way may still be written.
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    @property
    def table(self) -> pandas.DataFrame:
        """The final comparison: a row a generator and temperature, a column a quantity; docs/metrics.md has units."""
        import pandas

        self._require_run("table")
        return pandas.DataFrame(json.loads(self._text(TABLE, "no final table yet: the run is not finished")))

    @property
    def verdict(self) -> Verdict | None:
        """What may be said of the run beside its controls; None where there was nothing to judge."""
        self._require_run("verdict")
        return read_verdict(self.folder)

    @property
    def samples(self) -> dict[str, list[str]]:
        """What the generator wrote at each measurement: title ("mle 10", "adversarial 20", "final") → texts."""
        self._require_run("samples of its training")
        found: dict[str, list[str]] = {}
        shown: list[str] = []
        for line in self._text("samples.txt", "no samples yet").splitlines():
            if title := _TITLE.fullmatch(line):
                shown = found[title.group(1)] = []
            else:
                shown.append(line)
        return found

    def sample(
        self,
        num: int | None = None,
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int = 0,
        sources: Sequence[str] | None = None,
    ) -> list[str]:
        """Sequences of its generator as text.

        Args:
            num: how many; None is 10. A generator of pairs writes one for each source.
            temperature: divides the logits; None is 1, or what the model was registered with.
            top_p: draws each token from the fewest likeliest ones with this share of the probability; None from all.
            top_k: draws each token from so many of the likeliest; None from all.
            seed: of the draw; the same seed gives the same texts.
            sources: what to write for, of a generator of pairs.

        Returns:
            One string a sequence.

        Raises:
            ConfigError: a value is out of range, or sources are missing, or have no effect.
        """
        temperature = self._temperature if temperature is None else temperature
        with _in_words_of_python():
            exported = self._generator()
            if sources is None:
                if exported.space.condition is not None:
                    raise ConfigError(
                        "sources: are missing. This generator writes for a source: a translation, an answer, a "
                        "summary. Give a list of strings.",
                        code="sources_missing",
                    )
                return exported.sample(10 if num is None else num, temperature, seed, top_k=top_k, top_p=top_p)
            if num is not None:
                raise ConfigError(
                    "num: has no effect with sources; one sequence is written for each source. Remove it.",
                    code="num_beside_sources",
                )
            if exported.space.condition is None:
                raise ConfigError("sources: this generator reads no text. Remove them.", code="sources_no_effect")
            return exported.answer(list(sources), "sources", Decoding(Draw(temperature, top_k, top_p)), seed)[0]

    def score(self, texts: Sequence[str], *, sources: Sequence[str] | None = None) -> pandas.DataFrame:
        """How likely its generator holds texts, and what its discriminator says of them.

        Args:
            texts: n of them, cut into tokens as the run's data was.
            sources: what each was written for, of a generator of pairs.

        Returns:
            n rows: "text"; "num_tokens", with the terminator; "log_likelihood" in nats, summed over tokens, of a
            generator that has one; "discriminator_logit", the larger the more it looks real (where each token is
            judged, the sum), of a run with a discriminator.

        Raises:
            ConfigError: there are as many sources as texts, or none; the run's tokens were learned (byte pairs).
            DataError: a text is empty, too long, or is made of tokens that the run has not.
        """
        import pandas
        import torch

        texts = [texts] if isinstance(texts, str) else list(texts)
        with _in_words_of_python(), torch.no_grad():
            exported = self._generator()
            config = self.config
            tokens = encode_texts(config.task, exported.token_names, exported.joining, exported.space, texts)
            conditions = self._conditions(exported, texts, sources)
            mask = sequence_mask(exported.space, tokens)
            columns: dict[str, Any] = {"text": texts, "num_tokens": mask.sum(1).tolist()}
            if config.generator.has_likelihood:
                logprobs = exported.generator.conditional(conditions).logprobs(tokens)
                columns["log_likelihood"] = logprobs.double().masked_fill(~mask, 0.0).sum(1).tolist()
            if (self.folder / DISCRIMINATOR_FILES[0]).exists():
                judge = reward_of_run(self.folder, "logit", trust_code=self.trusts_code)
                columns["discriminator_logit"] = judge(tokens, mask, conditions).tolist()
        return pandas.DataFrame(columns)

    @staticmethod
    def _conditions(exported: ExportedGenerator, texts: Sequence[str], sources: Sequence[str] | None) -> Any:
        needs = exported.space.condition is not None
        if needs != (sources is not None) or (sources is not None and len(sources) != len(texts)):
            wanted = f"{len(texts)}, one a text" if needs else "none"
            given = "none" if sources is None else f"{len(sources)}"
            raise ConfigError(f"sources: {given} are given, but this generator needs {wanted}.", code="sources_number")
        if sources is None:
            return None
        return exported.read_sources(list(sources), "sources").conditions

    def plot(self) -> Figure:
        """Learning curves of what was logged, phases shaded; `.savefig("curves.png")` writes them."""
        return learning_curves(self._rows())

    def resume(
        self,
        *,
        callbacks: Sequence[Callback | type[Callback]] = (),
        quiet: bool = False,
    ) -> Run:
        """Go on with a run that was stopped, with exactly the numbers of one that never was.

        A function or class that `train` was given is needed again: in another process, give it its name first by
        `rlgan.register`.

        Args:
            callbacks: those that it was given when it began.
            quiet: whether nothing is shown.

        Returns:
            The run, complete or stopped again; of a run in a storage the one in its folder below `runs`.

        Raises:
            RlganError: it cannot be gone on with, with the reason.
        """
        self._require_run("training to continue")
        with _in_words_of_python():
            kept = kept_data(self.folder, f"rlgan.load({self.source!r})")
            config = located(self.config, kept)
            place: Place | None = None
            folder = self.folder
            if is_uri(self.source):
                place = open_place(self.source, "storage")
                folder = Path("runs") / place.name
            request = RunRequest(config, folder, resume=True, storage=place, trust_code=self.trusts_code)
            return Run(run_it(request, _built(callbacks), _progress(quiet)).run_dir, trust_code=self.trusts_code)

    def _generator(self) -> ExportedGenerator:
        return load_run_generator(self.folder, trust_code=self.trusts_code)

    def _text(self, name: str, missing: str) -> str:
        path = self.folder / name
        try:
            return path.read_text("utf-8")
        except FileNotFoundError:
            raise CheckpointError(
                f"{self.source}: has {missing}. Continue it with .resume().",
                code="run_incomplete",
                fields={"source": self.source},
            ) from None
        except OSError as error:
            raise CheckpointError(
                f"{path}: cannot be read ({error.strerror}). Check the permissions.",
                code="run_file_unreadable",
                fields={"path": path},
            ) from None


class _Fetched:
    """A folder that was fetched, for as long as this is held.

    Args:
        enter: fetches it, into what the stack keeps.
    """

    def __init__(self, enter: Callable[[ExitStack], Path]) -> None:
        stack = ExitStack()
        self.folder = enter(stack)
        weakref.finalize(self, stack.close)


def _fetched(uri: str) -> _Fetched:
    from tempfile import TemporaryDirectory

    place = open_place(uri, "load")

    def enter(stack: ExitStack) -> Path:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="rlgan-"))) / place.name
        fetch(place, folder)
        return folder

    return _Fetched(enter)


# ------------------------------------------------------------------------------------------------------ settings


def _base(preset: str | Callable[..., Any] | Config, task: TaskSettings | None) -> Config:
    """The configuration that settings change."""
    if isinstance(preset, Config):
        return preset if task is None else preset.model_copy(update={"task": task})
    name = preset if isinstance(preset, str) else _registered("preset", preset)
    return preset_named(name, task)


def _changed(base: Config, changes: Mapping[str, Any]) -> Config:
    config = override(base, changes)
    require_effect(to_dict(base), config, changes)
    return config


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Settings as dotted paths to plain values; functions and classes are registered, and their names stand there."""
    flat: dict[str, Any] = {}
    for name, given in values.items():
        path = f"{above}{name}"
        kind = _KINDS.get(path)
        value = to_dict(given) if isinstance(given, Settings) else given
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}.")
        elif kind is not None and callable(value):
            flat[path] = _registered(kind, value)
        elif kind is not None and isinstance(value, list | tuple):
            flat[path] = [_registered(kind, one) if callable(one) else one for one in value]
        else:
            flat[path] = str(value) if isinstance(value, Path) else value
    return {path.removesuffix(".kind"): value for path, value in flat.items()}


def _registered(kind: PluginKind, plugin: Any) -> str:
    """The name under which a function, class or instance of the user's own stands in a configuration."""
    if isinstance(plugin, functools.partial):
        named: Any = plugin.func
    else:
        named = plugin if inspect.isroutine(plugin) or inspect.isclass(plugin) else type(plugin)
    name = re.sub(r"\W", "", named.__name__) or "function"
    if kind in ("reward", "generator", "discriminator", "task") and name in variants_at(kind):
        name = f"own_{name}"  # a name that ships means what ships
    register(kind, name, plugin)
    return name


def _own_task(changes: Mapping[str, Any]) -> TaskSettings | None:
    """The task of the user's own that is asked for, with its options: a preset is chosen for it, as for data."""
    name = changes.get("task")
    if not isinstance(name, str) or (name not in known("task") and ":" not in name):
        return None
    above = "task.options."
    options = {path.removeprefix(above): value for path, value in changes.items() if path.startswith(above)}
    return _as_task({"kind": "plugin", "name": name, "options": options})


def _as_task(values: Mapping[str, Any]) -> TaskSettings:
    from pydantic import TypeAdapter, ValidationError

    from rlgan.config.paths import refused

    try:
        task: TaskSettings = TypeAdapter(TaskSettings).validate_python(dict(values))
    except ValidationError as error:
        raise refused(error) from None
    return task


def _built(callbacks: Sequence[Callback | type[Callback]]) -> tuple[Callback, ...]:
    return tuple(one() if inspect.isclass(one) else one for one in callbacks)


def _progress(quiet: bool) -> Progress:
    return Silence() if quiet else Progress()


# ------------------------------------------------------------------------------------------------------ data


def _task_of(
    data: str | Path | Iterable[Any] | None, tokens: str | None
) -> tuple[dict[str, Any] | None, list[dict[str, str]] | None]:
    """Values of the task that `data` asks for, and the rows that are to be written down for it."""
    if data is None:
        if tokens is not None:
            raise ConfigError(
                "tokens: has no effect without data. Give data, or remove it.",
                code="api_tokens_without_data",
            )
        return None, None
    cut = tokens or "word"
    if isinstance(data, Path) or (isinstance(data, str) and "\n" not in data):
        return {"kind": "text", "data": str(data), "tokens": cut}, None
    if isinstance(data, str):
        raise ConfigError(
            "data: is one string with several lines. Give a path, or a list of strings: data.splitlines().",
            code="data_is_one_string",
        )
    rows = _rows_of(data)
    if "text" in rows[0]:
        return {"kind": "text", "data": DATA_FILE, "tokens": cut}, rows
    vocabulary = {"kind": "separate", "source": cut, "target": cut}
    return {"kind": "pairs", "input": {"kind": "file", "data": DATA_FILE}, "vocabulary": vocabulary}, rows


def _rows_of(data: Iterable[Any]) -> list[dict[str, str]]:
    """Strings, or pairs of strings, as records."""
    if isinstance(data, tuple) and len(data) == 2 and not any(isinstance(side, str) for side in data):
        sources, targets = map(list, data)
        if len(sources) != len(targets):
            raise DataError(
                f"data: has {len(sources)} sources and {len(targets)} targets. Give equal numbers.",
                code="data_unequal",
            )
        values: list[Any] = list(zip(sources, targets, strict=True))
    else:
        values = list(data)
    if not values:
        raise DataError("data: is empty. Give strings, or pairs of strings.", code="data_empty")
    is_pair = not isinstance(values[0], str)
    rows = []
    for number, value in enumerate(values):
        pair = () if isinstance(value, str) or not isinstance(value, Sequence) else tuple(value)
        if not is_pair and isinstance(value, str):
            rows.append({"text": value})
        elif is_pair and len(pair) == 2 and all(isinstance(side, str) for side in pair):
            rows.append({"source": pair[0], "target": pair[1]})
        else:
            wanted = "a pair of strings" if is_pair else "a string"
            raise DataError(
                f"data[{number}]: is {value!r:.80}, but the elements before are {wanted}. Fix this element.",
                code="data_element",
            )
    return rows


def _write_rows(rows: Sequence[Mapping[str, str]], folder: Path) -> Path:
    """Write data into a folder, which is made where it is missing."""
    path = folder / DATA_FILE
    if path.exists():
        raise DataError(
            f"{path}: already exists, but the data must be written there. Use another folder with out.",
            code="data_folder_taken",
            fields={"path": path},
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(path, lambda beside: beside.write_text(text, "utf-8"))
    return path


@contextmanager
def _with_rows(request: RunRequest, rows: Sequence[Mapping[str, str]]) -> Iterator[RunRequest]:
    """The request with its data written into its folder; what was written is removed again if no run comes of it."""
    existed = request.run_dir is not None and request.run_dir.exists()
    folder = new_folder(request)
    path = _write_rows(rows, folder)
    setting = "task.data" if "text" in rows[0] else "task.input.data"
    config = override(request.config, {setting: str(path)})
    try:
        yield RunRequest(config, folder, resume=False, storage=request.storage)
    finally:
        if not (folder / CONFIG).exists():
            path.unlink(missing_ok=True)
            if not existed and not any(folder.iterdir()):
                folder.rmdir()


# ------------------------------------------------------------------------------------------------------ words

_OPTIONS = (
    (re.compile(r"--resume (\S+?)(?=[:;,.]?(?:\s|$))"), r"rlgan.load('\1').resume()"),
    (re.compile(r"--run (\S+?)(?=[:;,.]?(?:\s|$))"), r"rlgan.load('\1')"),
    (re.compile(r"--out (\S+?)(?=[:;,.]?(?:\s|$))"), r"out='\1'"),
    (re.compile(r"--resume\b"), "Run.resume()"),
    (re.compile(r"--input\b"), "sources"),
    (re.compile(r"--trust-code( \(trust_code=True from Python\))?"), "trust_code=True"),
)
_OPTION = re.compile(r"--([a-z][\w.-]*)")


def in_python(message: str) -> str:
    """A message whose advice names arguments and settings as they are written in Python, not options."""
    for pattern, words in _OPTIONS:
        message = pattern.sub(words, message)
    return _OPTION.sub(lambda match: match[1].replace("-", "_"), message)


@contextmanager
def _in_words_of_python() -> Iterator[None]:
    try:
        yield
    except RlganError as error:
        if error.args and isinstance(error.args[0], str):
            error.reword(in_python(error.args[0]))
        raise
