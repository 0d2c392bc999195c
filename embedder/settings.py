"""The embedder's settings: environment variables `LOOKALIKE_<NAME>`, read once by `embedder.__main__`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from embedder.cores import usable_cores
from embedder.models.bundle import CARD, SHIPPED
from lookalike.names import MAX_IMAGE_BYTES, MAX_IMAGES_PER_CALL, MAX_MESSAGE_BYTES
from lookalike.runtime.settings import Address, LogSettings, Seconds, TraceSettings, split_paths

_SHIPPED = ("photo", "fashion")
"""The bundles that come with the package, the default model first."""


def _shipped() -> tuple[Path, ...]:
    return tuple(SHIPPED / name for name in _SHIPPED if (SHIPPED / name / CARD).exists())


class EmbedderSettings(LogSettings, TraceSettings):
    embedder_address: Address = Field("127.0.0.1:50052", description="Where to listen.")
    embedder_health_address: Address | None = Field(
        None, description="HOST:PORT that answers gRPC health checks whatever the load, for probes; none by default."
    )
    embedder_models: Annotated[tuple[Path, ...], NoDecode] = Field(
        default_factory=_shipped,
        min_length=1,
        description=(
            f"Bundle folders that are always served, separated by {os.pathsep!r}; the first is the default model. "
            "By default those that ship: photo, then fashion."
        ),
    )
    embedder_registry: str = Field(
        "",
        description=(
            "Folder or fsspec URL of the model registry: every live version in it is served too, and names mean what it says. "
            "None by default. Every version served takes memory of its own."
        ),
    )
    embedder_registry_poll_s: Seconds = Field(
        5.0, gt=0, description="Seconds between two looks at the registry for versions that were promoted or retired."
    )
    embedder_device: Literal["auto", "gpu", "cpu"] = Field(
        "auto", description="auto: the GPU where TensorFlow sees one, else the CPU. gpu: a GPU, or not ready. cpu: never a GPU."
    )
    embedder_engine: Literal["tensorflow", "openvino"] = Field(
        "tensorflow",
        description=(
            "What computes the models' vectors. openvino: faster on the CPU, and runs only there; needs the extra [openvino]. "
            "Collections made with either are searched with both."
        ),
    )
    embedder_cores: int = Field(
        0,
        ge=0,
        le=1024,
        description=(
            "Processor cores to use, for decoding and for the models. 0: those this process may run on, "
            "or its container's quota of processor time, rounded up, where that is less."
        ),
    )
    embedder_batch_images: int = Field(32, ge=1, le=512, description="Most pictures computed together.")
    embedder_batch_bytes: int = Field(
        64 * 1024 * 1024, ge=1024 * 1024, description="Most bytes of decoded pictures computed together."
    )
    embedder_queue_images: int = Field(
        1024,
        ge=MAX_IMAGES_PER_CALL,
        description="Pictures admitted and not yet answered, per lane; beyond it calls are refused.",
    )
    embedder_queue_bytes: int = Field(
        256 * 1024 * 1024,
        ge=MAX_MESSAGE_BYTES,
        description="Bytes of encoded pictures admitted and not yet answered, per lane; beyond it calls are refused.",
    )
    embedder_queue_calls: int = Field(
        128,
        ge=1,
        le=1024,
        description="Calls admitted and not yet answered, per lane (one thread each); beyond it they are refused. "
        "While more calls are there or have arrived, calls are refused too that would be answered later than a full queue is.",
    )
    embedder_max_image_bytes: int = Field(
        MAX_IMAGE_BYTES, ge=1, le=MAX_IMAGE_BYTES, description="Largest encoded picture, in bytes."
    )
    embedder_max_image_pixels: int = Field(
        50_000_000, ge=1, description="Largest picture, width times height in pixels; decoding takes up to 22 bytes a pixel."
    )
    embedder_caged_processes: int = Field(
        0,
        ge=0,
        le=64,
        description=(
            "Most processes with limits, in which pictures are decoded that are not of the quick and safe kinds. Each holds "
            "50 MB, and is started when it is needed; there are four at least. 0: three more than cores."
        ),
    )
    embedder_caged_bytes: int = Field(
        1_200_000_000,
        ge=150_000_000,
        description=(
            "Memory in bytes that large pictures may take together while caged processes decode them. "
            "A picture that would take more alone is refused."
        ),
    )
    embedder_caged_processor_s: Seconds = Field(
        10.0,
        gt=0,
        description="Longest that a caged process may decode one picture, in seconds of processor time; small ones get less.",
    )
    embedder_call_timeout_s: Seconds = Field(
        60.0, gt=0, description="Longest a call may take, in seconds; also the deadline of calls that bring none."
    )
    embedder_drain_s: Seconds = Field(
        20.0, ge=0, description="Seconds that calls under way get to finish when the process gets a signal to stop."
    )
    embedder_metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port that answers Prometheus at /metrics. Off by default."
    )
    embedder_metrics_host: str = Field("127.0.0.1", description="Address that the metrics port is opened on.")

    @field_validator("embedder_models", mode="before")
    @classmethod
    def _split_models(cls, value: object) -> object:
        return split_paths(value)

    @field_validator("embedder_engine")
    @classmethod
    def _engine_fits_device(cls, engine: str, info: ValidationInfo) -> str:
        if engine == "openvino" and info.data.get("embedder_device") == "gpu":
            raise ValueError("openvino computes on the CPU, and LOOKALIKE_EMBEDDER_DEVICE asks for a GPU")
        return engine

    @property
    def caged_processes(self) -> int:
        """As set, else three more than there are cores to use."""
        return self.embedder_caged_processes or self.cores + 3

    @property
    def cores(self) -> int:
        """Cores to use: as set, else those this process may use."""
        return self.embedder_cores or usable_cores()
