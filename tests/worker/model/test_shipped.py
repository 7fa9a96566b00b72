"""The shipped model runs where it was asked to, or says why it does not."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from worker.engines.adaptive import ThinkingRoom
from worker.engines.base import EngineError
from worker.model.errors import DeviceError
from worker.model.forms import NumpyForm
from worker.model.shipped import load_for


def test_the_cpu_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert isinstance(load_for("cpu"), NumpyForm)


def test_auto_without_torch_is_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with caplog.at_level(logging.INFO, "flopex.worker"):
        assert isinstance(load_for("auto"), NumpyForm)
    assert "runs on the CPU: torch is not installed" in caplog.text
    with pytest.raises(DeviceError, match="torch is not installed"):
        load_for("cuda")


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed (extra: train)")


def test_a_device_that_is_not_there_is_named(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="device cuda: torch sees no CUDA device"):
        load_for("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="device cuda:1: torch sees 1 CUDA device"):
        load_for("cuda:1")


def test_a_cuda_device_gets_the_batched_form(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.model import batched

    class OnTheCpu(batched.BatchedForm):
        """The same code, where a machine without a GPU can run it."""

        def __init__(self, weights: Any, device: str) -> None:
            assert device == "cuda"
            super().__init__(weights, "cpu")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(batched, "BatchedForm", OnTheCpu)
    assert isinstance(load_for("auto"), OnTheCpu)


@pytest.mark.parametrize("device", ["gpu", "tpu", "cuda:x", "", "cuda:-1", "CPU"])
def test_a_name_that_is_no_device_is_said_without_torch(device: str) -> None:
    with pytest.raises(DeviceError, match="no such device; write auto, cpu, cuda or cuda:N"):
        load_for(device)


async def test_the_engine_says_what_its_device_lacks() -> None:
    with pytest.raises(EngineError, match="device tpu"):
        await ThinkingRoom(device="tpu").load()
