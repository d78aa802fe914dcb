"""A run to look at: what it logged, what came of it, its generator; going on with it."""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgan.base.errors import CheckpointError, ConfigError, RlganError
from rlgan.config.config import Config
from rlgan.config.paths import from_kept
from rlgan.envs.tasks.encoding import encode_texts
from rlgan.envs.tasks.sources import Source
from rlgan.envs.transition import sequence_mask
from rlgan.evaluation.verdict import Verdict, read_verdict
from rlgan.generators import Draw
from rlgan.policy.adversarial_reward import AdversarialReward
from rlgan.policy.reward_base import LogitMap
from rlgan.report.final_table import TABLE
from rlgan.report.tables import learning_curves
from rlgan.runs.data import kept_data, located
from rlgan.runs.publishing import LAST_FILE
from rlgan.runs.reward_function import reward_of_run
from rlgan.storage.checkpoint import CONFIG, read_run_config
from rlgan.storage.discriminator_export import DISCRIMINATOR_FILES
from rlgan.storage.export import Decoding, ExportedGenerator, load_run_generator
from rlgan.storage.places import Place, fetch, is_uri, open_place
from rlgan.tracking import row_of

from .pages import page_of
from .settings import built_callbacks, progress_of, require_numbers
from .words import in_words_of_python

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from rlgan.training.callbacks import Callback

SAMPLES = "samples.txt"
"""Name of the file of a run's folder that has what its generator wrote at each measurement."""
_SHOWN_VERDICT = 160  # characters of a line of `repr`
_TITLE = re.compile(r"=== (mle \d+|discriminator \d+|adversarial \d+|final)")


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
        folder: Path | Fetched,
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

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        verdict, rows, samples = None, [], {}
        if self._is_run and self.is_finished:
            verdict, rows = self.verdict, json.loads(self._text(TABLE, "no final table yet"))
        if (self.folder / SAMPLES).exists():
            samples = self.samples
        # The first sentence stands in the description.
        return page_of(repr(self), [] if verdict is None else verdict.sentences[1:], rows, samples)

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
        """What was logged: a row an iteration; "phase", "step", "iteration", a column a metric; docs/metrics.md."""
        import pandas

        rows = [
            {name: value for name, value in row.items() if name != "metrics"} | row["metrics"] for row in self._rows()
        ]
        return pandas.DataFrame(rows)

    def _rows(self) -> list[dict[str, Any]]:
        self._require_run("metrics")
        text = self._text("metrics.jsonl", "no metrics yet")
        # The last line of a run under way may still be written.
        return [row_of(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

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
        for line in self._text(SAMPLES, "no samples yet").splitlines():
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
        sources: Sequence[Source] | None = None,
        replace_unknown: bool = False,
    ) -> list[str]:
        """Sequences of its generator as text.

        Args:
            num: how many; None is 10. A generator of pairs writes one for each source.
            temperature: divides the logits; None is 1, or what the model was registered with.
            top_p: draws each token from the fewest likeliest ones with this share of the probability; None from all.
            top_k: draws each token from so many of the likeliest; None from all.
            seed: of the draw; the same seed gives the same texts.
            sources: what to write for: texts, of a generator of pairs; prompts, or conversations as lists of {"role",
                "content"}, of a language model, to which the task's chat template is applied.
            replace_unknown: whether words of the source take the place of unknown ones, where the generator looked.

        Returns:
            One string a sequence.

        Raises:
            ConfigError: a value is out of range, or sources are missing, or have no effect.
        """
        require_numbers(num=num, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)
        temperature = self._temperature if temperature is None else temperature
        with in_words_of_python():
            exported = self._generator()
            if sources is None:
                if exported.space.condition is not None:
                    raise ConfigError(
                        "sources: are missing. This generator writes for a source: a translation, an answer, a "
                        "summary. Give a list of strings.",
                        code="sources_missing",
                    )
                if replace_unknown:
                    raise ConfigError(
                        "replace_unknown: has no effect without sources. Give sources, or remove it.",
                        code="replace_unknown_without_sources",
                    )
                return exported.sample(10 if num is None else num, temperature, seed, top_k=top_k, top_p=top_p)
            if num is not None:
                raise ConfigError(
                    "num: has no effect with sources; one sequence is written for each source. Remove it.",
                    code="num_beside_sources",
                )
            if exported.space.condition is None:
                raise ConfigError("sources: this generator reads no text. Remove them.", code="sources_no_effect")
            decoding = Decoding(Draw(temperature, top_k, top_p), replaces_unknown=replace_unknown)
            return exported.answer(list(sources), "sources", decoding, seed)[0]

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
        with in_words_of_python(), torch.no_grad():
            exported = self._generator()
            config = self.config
            tokens = encode_texts(
                config.task, exported.token_names, exported.joining, exported.space, texts, exported.model_tokens
            )
            conditions = self._conditions(exported, texts, sources)
            mask = sequence_mask(exported.space, tokens)
            columns: dict[str, Any] = {"text": texts, "num_tokens": mask.sum(1).tolist()}
            if config.generator.has_likelihood:
                logprobs = exported.generator.conditional(conditions).logprobs(tokens)
                columns["log_likelihood"] = logprobs.double().masked_fill(~mask, 0.0).sum(1).tolist()
            if (self.folder / DISCRIMINATOR_FILES[0]).exists():
                judge = self.reward("logit")
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

    def export(self, to: str | Path, *, merge: bool = False, discriminator: bool = False) -> Path:
        """Write its language model, or its discriminator, as a folder that `transformers` loads.

        With tokenizer and model card. `AutoModelForCausalLM.from_pretrained(to)` and `pipeline("text-generation", to)`
        read it, and a discriminator `AutoModelForSequenceClassification.from_pretrained(to, num_labels=1)`, with the
        same logits. An adapter alone needs `peft` and the model that it was trained beside.

        Args:
            to: the folder; it must not exist, or be empty.
            merge: whether a trained adapter becomes part of the weights; else it is written alone.
            discriminator: whether the discriminator is written and not the generator.

        Returns:
            The folder.

        Raises:
            ConfigError: what is asked for is no model of transformers, or there is nothing to merge.
            CheckpointError: the folder holds something, the model beside the adapter has changed, or the run has no
                discriminator.
        """
        self._require_run("settings to write a model card of")
        with in_words_of_python():
            from rlgan.runs.exporting import export, export_discriminator

            write = export_discriminator if discriminator else export
            write(self.folder, Path(to), merges=merge, trust_code=self.trusts_code)
        return Path(to)

    def plot(self) -> Figure:
        """Learning curves of what was logged, phases shaded; `.savefig("curves.png")` writes them."""
        return learning_curves(self._rows())

    def extend(
        self,
        updates: int,
        *,
        callbacks: Sequence[Callback | type[Callback]] = (),
        quiet: bool = False,
    ) -> Run:
        """Make more adversarial updates in a run that is complete.

        It has the numbers of a run that was asked for all of them at once, but for the measurement after the last
        update so far, which such a run makes only where its turn was. The final table is measured again, controls are
        trained again for as many updates; tables so far are kept as table-at-200.txt, after 200 updates.

        Args:
            updates: how many more.
            callbacks: those that it was given when it began.
            quiet: whether nothing is shown.

        Returns:
            The run, complete or stopped.

        Raises:
            CheckpointError: the run is not complete.
            ConfigError: it has no adversarial phase, or was ended early; or a longer run would have had other numbers
                so far, for it selects a generator, or its temperature is spread over all updates.
        """
        require_numbers(updates=updates)
        return self._go_on(callbacks, quiet, more_updates=updates)

    def resume(
        self,
        *,
        callbacks: Sequence[Callback | type[Callback]] = (),
        storage: str | None = None,
        quiet: bool = False,
        accept_changed_plugins: bool = False,
    ) -> Run:
        """Go on with a run that was stopped, with exactly the numbers of one that never was.

        A function or class that `train` was given is needed again: in another process, give it its name first by
        `rlgan.register`.

        Args:
            callbacks: those that it was given when it began.
            storage: URI of a shared storage where the run is kept, too, as of `train`; a complete run is sent there.
            quiet: whether nothing is shown.
            accept_changed_plugins: whether it goes on with functions and classes whose source has changed since; its
                folder says so.

        Returns:
            The run, complete or stopped again; of a run in a storage the one in its folder below `runs`.

        Raises:
            RlganError: it cannot be gone on with, with the reason.
        """
        return self._go_on(callbacks, quiet, storage, accept_changed_plugins=accept_changed_plugins)

    def _go_on(
        self,
        callbacks: Sequence[Callback | type[Callback]],
        quiet: bool,
        storage: str | None = None,
        more_updates: int | None = None,
        accept_changed_plugins: bool = False,
    ) -> Run:
        self._require_run("training to continue")
        with in_words_of_python():
            kept = kept_data(self.folder, f"rlgan.load({self.source!r})")
            config = located(self.config, kept)
            place: Place | None = None
            folder = self.folder
            if is_uri(self.source):
                place = open_place(self.source, "storage")
                folder = Path("runs") / place.name
                if storage is not None:
                    raise ConfigError(
                        "storage: has no effect for a run that is already in a storage. Remove it.",
                        code="storage_no_effect",
                    )
            elif storage is not None:
                place = open_place(storage, "storage").below(folder.resolve().name)
            from rlgan.runs.run import RunRequest, run  # Ray takes seconds to import, and looking at a run needs none

            request = RunRequest(
                config,
                folder,
                resume=True,
                storage=place,
                trust_code=self.trusts_code,
                accept_changed_plugins=accept_changed_plugins,
                more_updates=more_updates,
            )
            result = run(request, built_callbacks(callbacks), progress_of(quiet))
            return Run(result.run_dir, trust_code=self.trusts_code)

    def reward(
        self, reward: LogitMap | str | None = None, tracking_uri: str | None = None, *, trust_code: bool = False
    ) -> AdversarialReward:
        """Its discriminator as a reward function; see `rlgan.discriminator_reward`."""
        trusts = trust_code or self.trusts_code
        if not self._is_run:  # of a registered model the generator alone was fetched
            return reward_of_run(self.source, reward, tracking_uri or self._tracking_uri, trust_code=trusts)
        with self._named():
            return reward_of_run(self.folder, reward, trust_code=trusts)

    def _generator(self) -> ExportedGenerator:
        with self._named():
            return load_run_generator(self.folder, trust_code=self.trusts_code)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the block name what the user gave, and not the folder of a copy."""
        try:
            yield
        except RlganError as error:
            if self._fetched is not None and error.args:
                error.args = (str(error.args[0]).replace(str(self.folder), self.source), *error.args[1:])
            raise

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


class Fetched:
    """A folder that was fetched, for as long as this is held.

    Args:
        enter: fetches it, into what the stack keeps.
    """

    def __init__(self, enter: Callable[[ExitStack], Path]) -> None:
        stack = ExitStack()
        self.folder = enter(stack)
        weakref.finalize(self, stack.close)


def fetched(uri: str) -> Fetched:
    """The folder of a run in a storage, as a copy."""
    from tempfile import TemporaryDirectory

    place = open_place(uri, "load")

    def enter(stack: ExitStack) -> Path:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="rlgan-"))) / place.name
        fetch(place, folder)
        return folder

    return Fetched(enter)
