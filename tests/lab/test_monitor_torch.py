"""The monitor's adapters on the real trainers, with small random models; ranks by gloo."""

from __future__ import annotations

import json
import math
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
import torchvision_shim  # noqa: E402

torchvision_shim.install()

from isthmus.lab.losses import infonce  # noqa: E402
from isthmus.lab.monitor import Monitor, diagnose  # noqa: E402
from isthmus.lab.monitor.logs import to_tensorboard, to_wandb  # noqa: E402
from isthmus.lab.monitor.watch import Watch, gathered, rows_of  # noqa: E402
from refusals import refused  # noqa: E402

DIM, IN, BATCH = 8, 6, 16


class Towers(torch.nn.Module):
    """Two linear towers that return what open_clip's models return."""

    def __init__(self, bias: float | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = torch.nn.Linear(IN, DIM), torch.nn.Linear(IN, DIM)
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(14.0)))
        if bias is not None:
            self.logit_bias = torch.nn.Parameter(torch.tensor(bias))

    def forward(self, x: Any, y: Any) -> dict[str, Any]:
        return {"image_features": self.a(x), "text_features": self.b(y)}


def inputs(count: int, seed: int = 0) -> Any:
    """(count, 2, BATCH, IN): batches of pairs."""
    what = np.random.default_rng(seed).normal(size=(count, 1, BATCH, IN))
    apart = np.random.default_rng(seed + 1).normal(size=(count, 2, BATCH, IN))
    return torch.tensor(what + 0.3 * apart, dtype=torch.float32)


def train(model: Towers, watch: Watch, batches: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in batches:
        out = model(x, y)
        loss = infonce(out["image_features"], out["text_features"], model.logit_scale.exp())
        optimizer.zero_grad()
        loss.backward()
        watch.step(loss)
        optimizer.step()


def test_a_watch_sees_rows_scale_bias_and_their_gradients() -> None:
    model = Towers(bias=-3.0)
    watch = Watch(model, Monitor(every=1))
    x, y = inputs(1)[0]
    train(model, watch, [(x, y)])
    numbers = watch.read(step=1)
    fresh = Towers(bias=-3.0)
    rows = fresh(x, y)
    scale = fresh.logit_scale.exp()
    loss = infonce(rows["image_features"], rows["text_features"], scale)
    loss.backward()
    by_hand = Monitor(every=1)
    by_hand.update(rows["image_features"], rows["text_features"], scale=scale)
    for name, value in by_hand.read().items():
        if value is not None:
            assert numbers[name] == pytest.approx(value, rel=1e-6), name
    assert numbers["loss"] == pytest.approx(float(loss.detach()), rel=1e-6)
    assert numbers["scale_gradient"] == pytest.approx(float(fresh.logit_scale.grad), rel=1e-5)
    assert (numbers["bias"], numbers["bias_gradient"]) == (-3.0, 0.0)


def test_a_watch_looks_at_every_kth_step_of_the_training_alone() -> None:
    model = Towers()
    watch = Watch(model, Monitor(every=2))
    train(model, watch, inputs(5))
    with torch.no_grad():
        model(*inputs(1)[0])
    assert watch.read()["rows"] == 3 * BATCH
    watch.remove()
    train(model, watch, inputs(3))
    assert watch.read()["rows"] == 0


def test_a_model_without_known_rows_is_refused() -> None:
    model = torch.nn.Linear(IN, DIM)
    Watch(model, Monitor(every=1))
    model(inputs(1)[0, 0])
    model(inputs(1)[0, 0])
    with refused("no-rows", "pick="):
        model(inputs(1)[0, 0])
    x = torch.zeros(3, 2)
    assert rows_of((x, x, 1.0)) == (x, x)
    assert rows_of((x, torch.zeros(4, 2))) is None


def half(rank: int, folder: str, port: int) -> None:
    """One of two ranks: every second batch, then what both have seen."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    monitor = Monitor(every=1)
    if folder.endswith("uneven"):  # a rank that has seen nothing yet
        mine = inputs(7) if rank else []
    else:
        mine = inputs(7)[rank::2]
    for x, y in mine:
        monitor.update(x + 1, y, scale=9.0, loss=1.0)
    numbers = gathered(monitor).read()
    Path(folder, f"{rank}.json").write_text(json.dumps(numbers))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("share", ["even", "uneven"])
def test_two_gloo_processes_equal_one(share: str, tmp_path: Path) -> None:
    import socket

    folder = tmp_path / share
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(half, (str(folder), port), nprocs=2)
    one = Monitor(every=1)
    for x, y in inputs(7):
        one.update(x + 1, y, scale=9.0, loss=1.0)
    whole = one.read()
    for rank in (0, 1):
        found = json.loads((folder / f"{rank}.json").read_text())
        assert found.keys() == whole.keys()
        for name, value in whole.items():
            if value is None:
                assert found[name] is None
            elif name != "predicted_flips":  # of the first batch of each rank
                assert found[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


class Pairs(torch.utils.data.Dataset):
    def __init__(self) -> None:
        self.x, self.y = inputs(12).permute(1, 0, 2, 3).reshape(2, -1, IN)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"x": self.x[i], "y": self.y[i]}


def test_the_callback_of_transformers(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    from isthmus.lab.monitor.huggingface import GapCallback

    class Model(Towers):
        def forward(self, x: Any, y: Any) -> dict[str, Any]:
            out = super().forward(x, y)
            out["loss"] = infonce(
                out["image_features"], out["text_features"], self.logit_scale.exp()
            )
            return out

    arguments = TrainingArguments(
        str(tmp_path),
        per_device_train_batch_size=BATCH,
        num_train_epochs=2,
        report_to=[],
        remove_unused_columns=False,
        save_strategy="no",
        use_cpu=True,
        label_names=[],
        disable_tqdm=True,
    )
    trainer = Trainer(Model(), arguments, train_dataset=Pairs())
    callback = GapCallback(Monitor(every=1), read_every=6).attach(trainer)
    trainer.train()
    history = callback.monitor.history
    assert [reading["step"] for reading in history] == [6, 12, 18, 24]
    assert all(reading["rows"] == 6 * BATCH for reading in history)
    logged = [line for line in trainer.state.log_history if "gap/gap" in line]
    assert [line["gap/gap"] for line in logged] == [reading["gap"] for reading in history]
    assert history[0]["scale_gradient"] != 0
    assert history[0]["loss"] > 0


def test_the_callback_of_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    from isthmus.lab.monitor.lightning import GapCallback

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.towers = Towers()

        def training_step(self, batch: Any, index: int) -> Any:
            out = self.towers(batch["x"], batch["y"])
            scale = self.towers.logit_scale.exp()
            return infonce(out["image_features"], out["text_features"], scale)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    callback = GapCallback(Monitor(every=1), module="towers", read_every=4)
    trainer = lightning.Trainer(
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        accelerator="cpu",
        default_root_dir=tmp_path,
    )
    trainer.fit(Module(), torch.utils.data.DataLoader(Pairs(), BATCH))
    assert [reading["rows"] for reading in callback.monitor.history] == [4 * BATCH] * 3
    assert float(trainer.callback_metrics["gap/gap"]) == pytest.approx(
        callback.monitor.history[-1]["gap"]
    )
    assert callback.monitor.history[-1]["scale_gradient"] != 0


def test_nothing_registers_itself_with_lightning() -> None:
    groups = ("lightning.pytorch.callbacks_factory", "lightning.fabric.callbacks_factory")
    named = [point.value for group in groups for point in entry_points(group=group)]
    assert not [value for value in named if "isthmus" in value]


def test_the_metric_of_torchmetrics() -> None:
    pytest.importorskip("torchmetrics")
    from isthmus.lab.monitor.metric import GapMetric

    metric, one, halves = GapMetric(IN), Monitor(every=1), [GapMetric(IN), GapMetric(IN)]
    for k, (x, y) in enumerate(inputs(6)):
        metric.update(x + 1, y, scale=9.0)
        halves[k % 2].update(x + 1, y, scale=9.0)
        one.update(x + 1, y, scale=9.0)
    found, whole = metric.compute(), one.read()
    assert {n for n, v in whole.items() if v is not None} == set(found)
    both = torch.stack([half.packed for half in halves])
    halves[0].packed = halves[0]._reductions["packed"](both)
    for values in (found, halves[0].compute()):
        for name in set(found) - {"predicted_flips"}:
            assert float(values[name]) == pytest.approx(whole[name], rel=1e-12), name
    metric.reset()
    assert float(metric.compute()["rows"]) == 0
    first = metric(*inputs(1)[0])
    assert float(first["rows"]) == BATCH


def word_model() -> Any:
    """A SentenceTransformer of random word vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from test_encoders_models import WORDS
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token=WORDS[0]))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    static = StaticEmbedding(words, embedding_dim=16)
    return SentenceTransformer(modules=[static], device="cpu")


def test_the_evaluator_of_sentence_transformers(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from isthmus.lab.monitor.sbert import GapEvaluator

    a, b = ["red cat", "green dog", "blue bird"], ["cat red photo", "photo green dog", "bird photo"]
    model = word_model()
    evaluator = GapEvaluator(a, b, name="toy")
    found = evaluator(model, str(tmp_path), epoch=2, steps=30)
    assert evaluator.primary_metric == "toy_recall"
    assert evaluator.greater_is_better
    x, y = (model.encode(side, normalize_embeddings=True) for side in (a, b))
    gap = np.linalg.norm(x.mean(0) - y.mean(0))
    assert found["toy_gap"] == pytest.approx(gap, rel=1e-5)
    assert found["toy_recall"] == 1.0
    stored = np.where(y > 0, 1.0, -1.0)
    places = [int(np.argmax([row @ s for s in stored])) for row in x]
    assert found["toy_one_bit_recall"] == np.mean([i == place for i, place in enumerate(places)])
    line = json.loads((tmp_path / "gap_toy.jsonl").read_text())
    assert (line["epoch"], line["step"], line["gap"]) == (2, 30, found["toy_gap"])
    assert not GapEvaluator(a, b, primary="gap").greater_is_better
    with refused("unequal-lengths", "3 and 1"):
        GapEvaluator(a, b[:1])


def test_a_run_of_open_clip_is_read_from_its_folder(tmp_path: Path) -> None:
    from isthmus.lab.monitor.openclip import read_run

    place = tmp_path / "checkpoints"
    with refused("no-such-file", "results.jsonl"):
        read_run(place)
    place.mkdir()
    lines = []
    for epoch in range(1, 7):
        metrics = {"image_to_text_R@1": 0.4 - 0.05 * epoch, "text_to_image_R@1": 0.4}
        metrics |= {"clip_val_loss": 4.0 - 0.1 * epoch, "epoch": epoch, "num_samples": 1000}
        lines.append(json.dumps(metrics))
        model = Towers(bias=-10.0)
        with torch.no_grad():
            model.logit_scale.fill_(math.log(20.0 - 3.2 * epoch))
        state = {f"module.{name}": value for name, value in model.state_dict().items()}
        torch.save({"epoch": epoch, "state_dict": state}, place / f"epoch_{epoch}.pt")
    (place / "results.jsonl").write_text("\n".join(lines) + '\n{"epo')  # a line half written
    torch.save({}, place / "epoch_latest.pt")

    def rows(weights: Any) -> Any:
        towers = Towers(bias=0.0)
        towers.load_state_dict(weights)
        return tuple(towers(*inputs(1)[0]).values())

    readings = read_run(place, rows=rows)
    assert [reading["step"] for reading in readings] == list(range(1, 7))
    assert readings[2]["scale"] == pytest.approx(20.0 - 9.6, rel=1e-6)
    assert readings[2]["loss"] == pytest.approx(3.7)
    assert readings[2]["held_out_recall"] == pytest.approx((0.25 + 0.4) / 2)
    assert readings[2]["gap"] > 0
    assert {finding.code for finding in diagnose(readings) if finding.fault} == {
        "scale-falling",
        "dead-bias",
        "recall-falling",
    }
    (place / "epoch_7.pt").write_bytes(b"no checkpoint")
    with refused("damaged-file", "epoch_7.pt"):
        read_run(place)


def test_rows_of_an_open_clip_model(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    from test_encoders_models import open_clip_config

    from isthmus.lab.monitor.openclip import checkpoint_rows, read_run

    name = "isthmus-watched"
    (tmp_path / f"{name}.json").write_text(json.dumps(open_clip_config(True)))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    network = open_clip.create_model(name).eval()
    images = torch.randn(4, 3, 32, 32)
    tokens = open_clip.get_tokenizer(name)(["a cat", "a dog", "a red bird", "tree"])
    place = tmp_path / "checkpoints"
    place.mkdir()
    torch.save({"state_dict": network.state_dict()}, place / "epoch_1.pt")
    (reading,) = read_run(place, rows=checkpoint_rows(name, images, tokens))
    with torch.no_grad():
        x, y = network.encode_image(images), network.encode_text(tokens)
    x, y = (rows / rows.norm(dim=1, keepdim=True) for rows in (x, y))
    assert reading["gap"] == pytest.approx(float((x.mean(0) - y.mean(0)).norm()), rel=1e-4)
    model = network.train()
    watch = Watch(model, Monitor(every=1))
    model(images, tokens)
    watch.step()
    assert watch.read()["rows"] == 4


def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    monitor = Monitor(every=1)
    monitor.update(*inputs(1)[0])
    numbers = monitor.read(step=40)
    with SummaryWriter(str(tmp_path)) as writer:
        to_tensorboard(writer)(numbers)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (scalar,) = events.Scalars("gap/gap")
    assert (scalar.step, scalar.value) == (40, pytest.approx(numbers["gap"], rel=1e-6))


def test_wandb_gets_the_numbers_offline(tmp_path: Path, monkeypatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monitor = Monitor(every=1)
    monitor.update(*inputs(1)[0])
    numbers = monitor.read(step=40)
    run = wandb.init(mode="offline", dir=str(tmp_path), project="isthmus-test")
    said: list[Any] = []
    log = run.log
    monkeypatch.setattr(run, "log", lambda line, step: (said.append((line, step)), log(line, step)))
    to_wandb(run)(numbers)
    run.finish()
    ((line, step),) = said
    assert (step, line["gap/gap"]) == (40, numbers["gap"])
    assert list(tmp_path.rglob("*.wandb"))


@pytest.mark.parametrize(
    ("module", "library"),
    [
        ("watch", "torch"),
        ("huggingface", "transformers"),
        ("lightning", "lightning.pytorch"),
        ("metric", "torchmetrics"),
        ("sbert", "sentence_transformers.base.evaluation"),
    ],
)
def test_a_missing_library_is_one_sentence(module: str, library: str, monkeypatch) -> None:
    name = f"isthmus.lab.monitor.{module}"
    kept = sys.modules.pop(name, None)
    monkeypatch.setitem(sys.modules, library, None)
    if module == "sbert":
        monkeypatch.setitem(sys.modules, "sentence_transformers.evaluation", None)
    with refused("missing-extra", "pip install 'isthmus["):
        __import__(name)
    if kept is not None:
        sys.modules[name] = kept


def test_the_example_trains_and_the_penalty_closes_the_gap_sooner(monkeypatch) -> None:
    import importlib.util

    path = Path(__file__).parents[2] / "examples" / "monitor_torch.py"
    spec = importlib.util.spec_from_file_location("monitor_example", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    plain, closed = (example.main(weight, steps=50).monitor.history[0] for weight in (0.0, 1.0))
    assert closed["gap"] < 0.6 * plain["gap"]
