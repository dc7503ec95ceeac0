"""The training loop: crops, loss, step; looked at, logged, kept, and taken up again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from .._checks import mistake
from ..models.named import NETWORKS, save_network
from .checkpoint import load_state, save_state
from .crops import Crops
from .plan import Loss, Plan
from .tasks import TASKS, Task, mean_squared_error

#: side of the central part of a held-out photograph that is restored to validate
VALIDATION_SIDE = 192
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
        folder: takes `state.safetensors`, `log.jsonl` and `network.safetensors`. What a training of
            the same plan left there is taken up.
        accelerator: where it runs; by default wherever `accelerate` finds.

    Raises:
        ValueError: a folder that holds a training of another plan, or a damaged one.
    """

    def __init__(
        self,
        plan: Plan,
        photos: Sequence[np.ndarray],
        held_out: Sequence[np.ndarray],
        folder: Path,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.plan, self.folder, self.held_out = plan, folder, held_out
        self.task: Task = TASKS[plan.task]
        self.crops = Crops(photos, plan.crop, plan.seed, plan.patches, plan.choices)
        self.accelerator = accelerator or Accelerator(mixed_precision=plan.precision)
        torch.manual_seed(plan.seed)
        network = NETWORKS[plan.network](**plan.arguments)
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(plan.average))
        optimizer = torch.optim.Adam(network.parameters(), lr=plan.rate)
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer)
        self.average.to(self.accelerator.device)
        self.step, self.seconds = 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if self._state.exists():
            self._take_up()

    @property
    def _state(self) -> Path:
        return self.folder / "state.safetensors"

    def run(
        self,
        *,
        until: Callable[[], bool] = lambda: False,
        save_seconds: float = 120,
        log_steps: int = 50,
        validate_steps: int = 1000,
    ) -> None:
        """Trains to the end of the plan, or until `until` or the keyboard says stop; either way
        what was reached is kept.

        Args:
            until: asked after every step.
            save_seconds: time between two states on disk.
            log_steps: steps between two lines of the log.
            validate_steps: steps between two validations.
        """
        main = self.accelerator.is_main_process
        progress = tqdm(
            initial=self.step, total=self.plan.steps, unit="step", mininterval=5, disable=not main
        )
        begin = saved = time.monotonic()
        losses: list[Tensor] = []
        try:
            while self.step < self.plan.steps:
                losses.append(self._one_step())
                self.step += 1
                progress.update()
                now = time.monotonic()
                last = self.step == self.plan.steps
                if self.step % log_steps == 0 or last:
                    loss = float(torch.stack(losses).mean())
                    losses.clear()
                    rate = self.optimizer.param_groups[0]["lr"]
                    self._log(loss=loss, rate=rate, seconds=self.seconds + now - begin)
                    progress.set_postfix(loss=f"{loss:.3g}", refresh=False)
                if self.step % validate_steps == 0 or last:
                    self._log(**self.validate())
                if until():
                    break
                if now - saved > save_seconds:
                    self._keep(now - begin)
                    saved = now
        except KeyboardInterrupt:
            progress.write("interrupted: the state is kept")
        finally:
            progress.close()
            self._keep(time.monotonic() - begin)
            self.seconds += time.monotonic() - begin

    def _one_step(self) -> Tensor:
        plan, processes = self.plan, self.accelerator.num_processes
        share = plan.batch // processes
        first = self.step * plan.batch + self.accelerator.process_index * share
        photo = self.crops.batch(range(first, first + share)).to(self.accelerator.device)
        truth, shape = self.task.truth(photo), (plan.crop, plan.crop)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate_at(self.step)
        with self.accelerator.autocast():
            x = self.network(self.task.observe(truth, shape), shape)
        loss = LOSSES[plan.loss](x, truth)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.network.parameters(), plan.clip)
        self.optimizer.step()
        self.average.update_parameters(self.accelerator.unwrap_model(self.network))
        return loss.detach()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR on the held-out photographs: of the mean error, and the mean of each one's."""
        errors = [float(error) for error in self._validation_errors()]
        if not errors:
            return {}
        psnr = -10 * np.log10(np.maximum(errors, 1e-12))
        return {"psnr_pooled": float(-10 * np.log10(np.mean(errors))), "psnr": float(psnr.mean())}

    def _validation_errors(self) -> Iterator[Tensor]:
        network = self.average.module.eval()
        for image in self.held_out:
            top, left = (max(0, (n - VALIDATION_SIDE) // 2) for n in image.shape[:2])
            part = image[top : top + VALIDATION_SIDE, left : left + VALIDATION_SIDE]
            shape = (part.shape[0], part.shape[1])
            photo = torch.from_numpy(part.reshape(-1, 3).copy()).to(self.accelerator.device)
            truth = self.task.truth(photo.float() / 255)
            yield mean_squared_error(network(self.task.observe(truth, shape), shape), truth)

    def _log(self, **values: float) -> None:
        if values and self.accelerator.is_main_process:
            with (self.folder / "log.jsonl").open("a") as log:
                log.write(json.dumps({"step": self.step} | values) + "\n")

    def _keep(self, seconds: float) -> None:
        if not self.accelerator.is_main_process:
            return
        network = self.accelerator.unwrap_model(self.network)
        state = {
            "plan": asdict(self.plan),
            "step": self.step,
            "seconds": self.seconds + seconds,
            "network": dict(network.state_dict()),
            "average": dict(self.average.state_dict()),
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(self._state, state)
        save_network(
            self.average.module,
            self.folder / "network.safetensors",
            self.plan.network,
            self.plan.arguments,
            {"step": self.step, "plan": asdict(self.plan)},
        )

    def _take_up(self) -> None:
        state: dict[str, Any] = load_state(self._state)
        wanted = asdict(self.plan)
        different = [name for name in wanted if state["plan"].get(name) != wanted[name]]
        if different:
            raise mistake(
                f"{self.folder}, a training with another " + ", ".join(different),
                "a new folder, or one of the same plan",
                "Give --out a folder of its own; nothing was overwritten.",
            )
        self.accelerator.unwrap_model(self.network).load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
