"""Training that is interrupted and goes on from its checkpoint."""

import os

import pytest
import tallsbi


class Interrupt:
    """Ctrl-C when so many epochs were told of."""

    def __init__(self, epochs=None):
        self.epochs, self.first = epochs, None

    def __call__(self, stage, unit, done, total, note):
        if unit == "epochs":
            self.first = done if self.first is None else self.first
            if self.epochs is not None and done >= self.epochs:
                raise KeyboardInterrupt


def train(progress=False, seed=2, **where):
    simulations = tallsbi.simulate("two_moons", n=20_000)
    # Many small batches: epochs last longer than the ticks in which progress is told.
    short = {"architecture": "noise", "epochs": 24, "hidden": [64], "batch_size": 16}
    return tallsbi.train(simulations, seed=seed, progress=progress, **short, **where)


def test_a_resumed_run_ends_in_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")  # No times in the bytes.
    whole = train().to_bytes()
    path = tmp_path / "run.checkpoint"
    for epochs in (2, 6):
        with pytest.raises(KeyboardInterrupt):
            train(Interrupt(epochs), checkpoint=path, resume=epochs > 2)
        assert os.listdir(tmp_path) == ["run.checkpoint"]
    rest = Interrupt()
    assert train(rest, checkpoint=path, resume=True).to_bytes() == whole
    assert rest.first > 6 and os.listdir(tmp_path) == []
    # Where there is nothing to resume it starts.
    assert train(checkpoint=path, resume=True).to_bytes() == whole


def test_checkpoints_that_do_not_serve(tmp_path):
    path = tmp_path / "run.checkpoint"

    def refused(kind, match, **where):
        with pytest.raises(kind, match=match) as caught:
            train(**where)
        assert "\n" not in str(caught.value)

    refused(ValueError, "resume: .*checkpoint=PATH", resume=True)
    refused(FileNotFoundError, "checkpoint: the folder .* does not exist", checkpoint=tmp_path / "none" / "run.checkpoint")
    with pytest.raises(KeyboardInterrupt):
        train(Interrupt(1), checkpoint=path)
    refused(FileExistsError, "was left by an interrupted run; go on with it by resume=True", checkpoint=path)
    refused(ValueError, "other data, options or seed", checkpoint=path, resume=True, seed=3)
    path.write_bytes(path.read_bytes()[:-9])
    refused(tallsbi.Error, "^checkpoint: ", checkpoint=path, resume=True)


def test_a_checkpoint_that_cannot_be_kept_is_told(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()

    def stop(stage, unit, done, total, note):
        if unit == "epochs":
            folder.rmdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        train(stop, checkpoint=folder / "run.checkpoint")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
