"""A registered language model answers prompts, as MLflow loads it and as the command line fetches it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rlgan.base.pretrained import ModelFolder
from rlgan.base.weights import weights_of
from rlgan.envs.tasks import demonstrations_task
from rlgan.envs.vocabulary import one_line
from rlgan.generators import CausalLM, Draw, build_generator
from rlgan.storage.export import Decoding, load_run_generator, save_run_generator
from rlgan.tracking import Tracker, TrackingSettings, read_run, register
from tests.support.commands import ask
from tests.support.language_models import chats, require, write_tokenizer

pytestmark = [pytest.mark.integration, pytest.mark.heavy]


def test_prompts_are_answered_as_the_run_answers_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require()
    import mlflow
    import pandas

    model = ModelFolder(path=str(write_tokenizer(tmp_path / "model")))
    rows = chats(12)
    task = demonstrations_task(rows, model, valid=rows[:2], test=rows[:2], max_length=12)
    settings = CausalLM.model_validate({"weights": {"kind": "fresh", "width": 16, "layers": 1, "heads": 2}})
    run_dir = tmp_path / "runs" / "chat"
    run_dir.mkdir(parents=True)
    torch.manual_seed(0)
    save_run_generator(run_dir, settings, task, weights_of(build_generator(settings, task.space), 1).complete)
    tracker = Tracker(TrackingSettings(), run_dir)
    tracker.start("chat", {}, {})
    tracker.finish("FINISHED")
    uri = f"sqlite:///{tmp_path / 'runs/mlruns.db'}"
    register(uri, read_run(uri, run_dir).run_id, run_dir, "chat", 0.5, {})
    asked = ["how are you, 3?", "fine?"]
    expected = load_run_generator(run_dir).answer(asked, "test", Decoding(Draw(0.5)), seed=4)[0]
    (folder,) = tmp_path.glob("runs/mlartifacts/models/*/artifacts")
    served = mlflow.pyfunc.load_model(str(folder))
    assert [one.name for one in served.metadata.get_input_schema()] == ["prompt"]
    found = served.predict(pandas.DataFrame({"prompt": asked}), params={"seed": 4})
    assert list(found["text"]) == expected
    with pytest.raises(mlflow.exceptions.MlflowException, match="empty"):
        served.predict(pandas.DataFrame({"prompt": [" "]}), params={"seed": 4})
    command = ["sample", "--model", "models:/chat/1", "--tracking-uri", uri, "--seed", 4]
    first = ask(capsys, *command, "--prompt", asked[0], "--prompt", asked[1])
    assert first.status == 0 and len(first.out.splitlines()) == 2, first
    one = ask(capsys, *command, "--prompt", asked[0])
    streamed = ask(capsys, *command, "--prompt", asked[0], "--stream")
    assert streamed.status == 0 and one_line(streamed.out.removesuffix("\n")) == one.out.removesuffix("\n")
    # A file of conversations: with their roles, and without the answer that is asked for.
    before = [{"role": "system", "content": "be short"}, {"role": "user", "content": "how are you, 3?"}]
    answered = [*before, {"role": "assistant", "content": "fine"}]
    by_hand = load_run_generator(run_dir).answer([before], "test", Decoding(Draw(0.5)), seed=4)[0]
    for name, record in {"messages": answered, "prompt": before, "conversations": before}.items():
        file = tmp_path / f"{name}.jsonl"
        file.write_text(json.dumps({name: record}) + "\n")
        told = ask(capsys, *command, "--input", file)
        assert told.status == 0 and told.out.rstrip("\n") == one_line(by_hand[0]), told
        assert ("left out the last answer of 1 conversation" in told.err) == (name == "messages")
    without = ask(capsys, *command)
    assert without.status == 2 and "--prompt" in without.err
