"""A buffer of generated images, which lets a discriminator see older ones too."""

from __future__ import annotations

import torch


class ImagePool:
    """A history of generated images (arXiv:1703.10593, section 4; idea from arXiv:1612.07828).

    Until `pool_size` images are stored, a query returns its images and keeps copies. Once the pool
    is full, each image is swapped with a random stored one with probability one half. A size of 0
    turns the pool off. It has its own random generator, so that it can be restored exactly. Images
    from a CUDA GPU are stored in host memory: 100 of 1024 x 1024 pixels are 1.26 GB.
    """

    def __init__(self, pool_size: int, seed: int = 0):
        self.pool_size = pool_size
        self.images: list[torch.Tensor] = []
        self.generator = torch.Generator().manual_seed(seed)

    def query(self, images: torch.Tensor) -> torch.Tensor:
        """As many images as given, (N, C, H, W), some of them from the history; no gradients."""
        images = images.detach()
        if self.pool_size == 0:
            return images
        chosen = []
        for image in images.split(1):
            if len(self.images) < self.pool_size:
                self.images.append(kept(image))
            elif torch.rand((), generator=self.generator) < 0.5:
                slot = int(torch.randint(self.pool_size, (), generator=self.generator))
                old = self.images[slot].to(image.device, non_blocking=True)
                image, self.images[slot] = old, kept(image)
            chosen.append(image)
        return torch.cat(chosen)

    def state_dict(self) -> dict:
        if torch.cuda.is_initialized():
            torch.cuda.current_stream().synchronize()  # images may be on their way
        return {"images": list(self.images), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.images = list(state["images"])
        self.generator.set_state(state["generator"])


def kept(image: torch.Tensor) -> torch.Tensor:
    """A copy; of a CUDA GPU's image in pinned host memory, so that nothing waits for it."""
    where = "cpu" if image.is_cuda else image.device
    return image.to(where, non_blocking=True, copy=True)
