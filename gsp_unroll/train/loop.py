"""The training loop: crops, loss, step; looked at, logged, kept, and taken up again."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from .._checks import check_positive_count, mistake
from .._files import written_whole
from ..models.named import NETWORKS, save_network
from ..models.pretrained import FILE
from ..photos import central
from ..problems import DataTerm
from .average import running_mean
from .checkpoint import KEPT, load_state, save_state
from .crops import Crops, white_noise, with_reduced
from .log import append_to_log, cut_log, read_log
from .plan import Loss, Plan
from .rehearsal import begin_with
from .stopping import alone_in, signals_noted
from .tasks import TASKS, Task

#: side of the central part of a held-out photograph that is restored to validate
VALIDATION_SIDE = 192
#: what the state on disk holds
STATE = {"plan", "step", "seconds", "network", "average", "optimizer"}
LOSSES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": nn.functional.mse_loss,
    "l1": nn.functional.l1_loss,
}


class Training:
    """A plan, and how far it has come.

    Args:
        plan: what to do.
        photos: 8-bit images to learn from.
        held_out: images to validate on; may be empty.
        folder: takes `state.safetensors`, `log.jsonl`, `curve.png` and `network.safetensors`. What
            a training of the same plan left there is taken up.
        accelerator: where it runs; by default wherever `accelerate` finds.

    Shapes:
        - **photos, held_out:** `(height, width, 3)` each, of uint8

    Raises:
        ValueError: a folder that holds a training of another plan or on other photographs, or a
            damaged one, or weights without a state; a network to begin with that is none or shares
            nothing with the plan's; a batch that the processes cannot share.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from gsp_unroll.train.loop import Training
        >>> from gsp_unroll.train.plan import Plan
        >>> plan = Plan("demosaic", "demosaic", steps=2, batch=2, crop=16, precision="no")
        >>> photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        >>> training = Training(plan, [photo], [], Path(tempfile.mkdtemp()))
        >>> training.run()
        >>> training.step
        2
    """

    def __init__(
        self,
        plan: Plan,
        photos: Sequence[np.ndarray],
        held_out: Sequence[np.ndarray],
        folder: Path,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.plan, self.folder = plan, folder
        self._photos = f"{_digest(photos)}, held out {_digest(held_out)}"
        if not self._state.exists() and (folder / FILE).exists():
            raise mistake(
                f"{folder}, which holds a {FILE} and no state of a training",
                "a new folder, or one that a training can go on in",
                "Give --out a folder of its own; nothing was overwritten.",
            )
        photos, self.held_out = (
            with_reduced(each, plan.reduce, plan.crop) for each in (photos, held_out)
        )
        self.task: Task = TASKS[plan.task]
        self.crops = Crops(photos, plan.crop, plan.seed, plan.patches, plan.choices)
        self.accelerator = accelerator or Accelerator(mixed_precision=plan.precision)
        self._check_accelerator()
        torch.manual_seed(plan.seed)
        network = NETWORKS[plan.network](**plan.arguments)
        if plan.begin is not None and not self._state.exists():
            begin_with(plan.begin, network, plan.fresh)
        self._data_term = network.data_term
        self.average = AveragedModel(network, multi_avg_fn=running_mean(plan.average))
        optimizer = torch.optim.Adam(network.parameters(), lr=plan.rate)
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer)
        self.average.to(self.accelerator.device).eval()
        self.step, self.seconds = 0, 0.0
        self._shown: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if self._state.exists():
            self._take_up()
        self._check_all_are_at_one_step()

    @property
    def _state(self) -> Path:
        return self.folder / KEPT

    @property
    def _log(self) -> Path:
        return self.folder / "log.jsonl"

    def run(
        self,
        *,
        until: Callable[[], bool] = lambda: False,
        save_seconds: float = 120,
        log_steps: int = 50,
        validate_steps: int = 1000,
    ) -> None:
        """Trains to the end of the plan, or until `until`, Ctrl-C or SIGTERM say stop. The step
        that is under way is finished, and what was reached is kept.

        After an error, or a second Ctrl-C, the state that was saved last is what there is: half a
        step is never saved.

        Args:
            until: asked after every step.
            save_seconds: time between two states on disk.
            log_steps: steps between two lines of the log.
            validate_steps: steps between two validations.

        Raises:
            ValueError: another training at work in the folder, or one that has gone on there since
                this one was made; a loss or a gradient that is not finite.
        """
        check_positive_count(log_steps, "log_steps")
        check_positive_count(validate_steps, "validate_steps")
        main, steps = self.accelerator.is_main_process, self.plan.steps
        with (
            alone_in(self.folder) if main else nullcontext(),
            signals_noted() as signals,
            tqdm(
                initial=self.step, total=steps, unit="step", mininterval=5, disable=not main
            ) as progress,
        ):
            if main:
                self._check_nobody_went_on()
            self._begin_log(progress)
            losses: list[Tensor] = []  # since the last line of the log
            begin, saved = time.monotonic() - self.seconds, time.monotonic()
            while self.step < steps:
                losses.append(self._one_step())
                self.step += 1
                self.seconds = time.monotonic() - begin
                progress.update()
                last = self.step == steps
                if self.step % log_steps == 0 or last:
                    loss = self._finite_mean(losses)
                    losses.clear()
                    rate = self.optimizer.param_groups[0]["lr"]
                    self._note(progress, loss=loss, rate=rate, seconds=self.seconds)
                if self.step % validate_steps == 0 or last:
                    self._note(progress, **self.validate())
                    self._draw_curve()
                if self._any_process(until() or bool(signals)):
                    break
                if main and time.monotonic() - saved > save_seconds:
                    self._keep(losses)
                    saved = time.monotonic()
            self._keep(losses)
            if signals:
                progress.write(f"stopped at step {self.step}: the same command goes on from here")
        self.accelerator.wait_for_everyone()

    def _one_step(self) -> Tensor:
        plan, processes = self.plan, self.accelerator.num_processes
        share = plan.batch // processes
        first = self.step * plan.batch + self.accelerator.process_index * share
        numbers, shape = range(first, first + share), (plan.crop, plan.crop)
        truth = self.task.truth(self.crops.batch(numbers).to(self.accelerator.device))
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate_at(self.step)
        data = self._observed(truth, shape, self.crops.noises(numbers))
        x = self.network(data, shape)  # under autocast if asked
        loss = LOSSES[plan.loss](x, truth)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), plan.clip)
        self.optimizer.step()
        self.average.update_parameters(self.accelerator.unwrap_model(self.network))
        spoiled: Tensor = 0 * norm  # not finite where the gradient is not
        return loss.detach() + spoiled

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR of the averaged network on the held-out photographs: of the mean error, and the
        mean of each one's. Each process restores a part of them."""
        if not self.held_out:
            return {}
        device, processes = self.accelerator.device, self.accelerator.num_processes
        errors = torch.zeros(len(self.held_out), device=device)
        for i in range(self.accelerator.process_index, len(errors), processes):
            errors[i] = self._validation_error(i)
        errors = self.accelerator.reduce(errors, "sum").cpu().double().clamp(min=1e-12)
        return {
            "psnr_pooled": float(-10 * errors.mean().log10()),
            "psnr": float(-10 * errors.log10().mean()),
        }

    def _validation_error(self, number: int) -> Tensor:
        part = central(self.held_out[number], VALIDATION_SIDE)
        shape = (part.shape[0], part.shape[1])
        photo = torch.from_numpy(part.reshape(-1, 3).copy()).to(self.accelerator.device)
        truth = self.task.truth(photo.float() / 255)
        # the same for every plan, whatever its seed: or trainings are not judged alike
        draw = np.random.default_rng([*b"held out", number])
        x: Tensor = self.average.module(self._observed(truth, shape, [draw]), shape)
        return (x - truth).square().mean()

    def _observed(
        self, truth: Tensor, shape: tuple[int, int], draws: Sequence[np.random.Generator]
    ) -> DataTerm:
        noise = None
        if self.plan.noise:
            noise = white_noise(draws, truth.shape[-2], self.plan.noise / 255)
            noise = noise.to(truth.device).reshape(*truth.shape[:-1], 1)
        return self.task.observe(truth, shape, noise, self._data_term)

    # ---- what is kept -----------------------------------------------------------------------

    def _keep(self, losses: Sequence[Tensor]) -> None:
        if not self.accelerator.is_main_process:
            return
        if losses:
            self._finite_mean(losses, everywhere=False)
        network = self.accelerator.unwrap_model(self.network)
        state = {
            "plan": asdict(self.plan),
            "step": self.step,
            "seconds": self.seconds,
            "network": dict(network.state_dict()),
            "average": dict(self.average.state_dict()),
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(self._state, state)
        save_network(
            self.average.module,
            self.folder / FILE,
            self.plan.network,
            self.plan.arguments,
            {"step": self.step, "plan": asdict(self.plan)},
        )

    def _take_up(self) -> None:
        state: dict[str, Any] = load_state(self._state)
        wanted: dict[str, Any] = json.loads(json.dumps(asdict(self.plan)))  # as a file has it
        # what a plan could not say when the training began is as it was then: by default
        default = asdict(Plan(self.plan.network, self.plan.task, self.plan.steps))
        missing = STATE - {*state}
        if missing or not isinstance(state["plan"], dict):
            raise mistake(
                f"{self._state} without {', '.join(sorted(missing)) or 'a plan'}",
                "the state of a training",
                "Give --out a folder of its own; nothing was overwritten.",
            )
        found = json.loads(json.dumps(default)) | state["plan"]
        different = [n for n in found if found[n] != wanted.get(n)]
        if different:
            raise mistake(
                f"{self.folder}, a training with another " + ", ".join(different),
                "a new folder, or one of the same plan",
                "Give --out a folder of its own; nothing was overwritten.",
            )
        photos = [line["photos"] for line in read_log(self._log) if "photos" in line]
        if photos and photos[-1] != self._photos:
            raise mistake(
                f"{self.folder}, a training on other photographs",
                "the same photographs in the same order of folders",
                "Give the same --photos, or --out a folder of its own; nothing was overwritten.",
            )
        try:
            self.accelerator.unwrap_model(self.network).load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise mistake(
                f"{self._state}, whose weights do not fit ({error})",
                f"those of {self.plan.network!r} as this version builds it",
                "Go on with the version that began; nothing was overwritten.",
            ) from error
        self.step, self.seconds = state["step"], state["seconds"]

    def _check_nobody_went_on(self) -> None:
        """Between this training's look at the folder and now, when it is alone there."""
        kept = load_state(self._state)["step"] if self._state.exists() else self.step
        if kept != self.step:
            raise mistake(
                f"{self.folder}, where the training stands at step {kept}",
                f"step {self.step}, where this one stands",
                "Make the Training anew: it goes on from what is there; nothing was overwritten.",
            )

    # ---- what is shown ----------------------------------------------------------------------

    def _begin_log(self, progress: Any) -> None:
        if not self.accelerator.is_main_process:
            return
        cut_log(self._log, self.step)
        for line in read_log(self._log):
            self._show(progress, line)
        start = {
            "photos": self._photos,
            "processes": self.accelerator.num_processes,
            "device": str(self.accelerator.device),
            "torch": str(torch.__version__),
        }
        if self.step < self.plan.steps:
            append_to_log(self._log, {"step": self.step} | start)
        if importlib.util.find_spec("matplotlib") is None:
            progress.write("matplotlib is not installed: no curve.png is drawn")

    def _note(self, progress: Any, **values: float) -> None:
        if values and self.accelerator.is_main_process:
            append_to_log(self._log, {"step": self.step} | values)
            self._show(progress, values)

    def _show(self, progress: Any, values: dict[str, Any]) -> None:
        for name, form in {"loss": ".3g", "psnr": ".2f"}.items():
            if name in values:
                self._shown[name] = format(values[name], form)
        progress.set_postfix(self._shown, refresh=False)

    def _draw_curve(self) -> None:
        if not self.accelerator.is_main_process or importlib.util.find_spec("matplotlib") is None:
            return
        from matplotlib.figure import Figure

        from ..viz import draw_training

        log = read_log(self._log)
        if not any("loss" in line or "psnr" in line for line in log):
            return  # nothing held out, and no line of the log yet
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        draw_training(figure.subplots(), log)
        with written_whole(self.folder / "curve.png") as beside:
            figure.savefig(beside, format="png")

    # ---- several processes ------------------------------------------------------------------

    def _check_accelerator(self) -> None:
        plan, accelerator = self.plan, self.accelerator
        if plan.batch % accelerator.num_processes:
            raise mistake(
                f"a batch of {plan.batch} for {accelerator.num_processes} processes",
                "a batch that they can share evenly",
                "Change --batch or the number of processes.",
            )
        if accelerator.mixed_precision != plan.precision:
            raise mistake(
                f"an accelerator of mixed_precision={accelerator.mixed_precision!r}",
                f"that of the plan, {plan.precision!r}",
                "Leave the accelerator out, or make it with that precision.",
            )

    def _check_all_are_at_one_step(self) -> None:
        if self.accelerator.num_processes == 1:
            return
        mine = torch.tensor([self.step], device=self.accelerator.device)
        steps = self.accelerator.gather(mine).tolist()
        if len(set(steps)) > 1:
            raise mistake(
                f"processes that go on from the steps {steps}",
                "one state for all of them",
                "Put --out on a disk that every machine sees.",
            )

    def _any_process(self, stop: bool) -> bool:
        """Whether one of them wants to stop: then all do, after the same step."""
        if self.accelerator.num_processes == 1:
            return stop
        flag = torch.tensor(int(stop), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item())

    def _finite_mean(self, losses: Sequence[Tensor], everywhere: bool = True) -> float:
        mean = torch.stack(list(losses)).mean()
        loss = float(self.accelerator.reduce(mean, "mean") if everywhere else mean)
        if not math.isfinite(loss):
            raise mistake(
                f"a loss or a gradient that is not finite, up to step {self.step}",
                "finite numbers",
                "The last state that was saved is kept. Begin anew with a lower rate or a longer "
                "warm-up.",
            )
        return loss


def _digest(photos: Sequence[np.ndarray]) -> str:
    """The same for the same photographs in the same order."""
    digest = hashlib.blake2b(digest_size=8)
    for photo in photos:
        digest.update(str(photo.shape).encode() + np.ascontiguousarray(photo).tobytes())
    return digest.hexdigest()
