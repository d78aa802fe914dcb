"""Images, as tokens of a VQ-VAE: a task, discriminators that look at pixels, a distance of sets of images.

    rlgan train quick --task images --evaluation.metrics images
    rlgan sample --run runs/images --num 40 --out digits.png

`vq_vae` has the network and how it learns, `codes` what a run keeps of it. The digits need scikit-learn, and PNG files
need pillow (extra `images`).
"""

from .codes import ImageCodes as ImageCodes
from .codes import drawing as drawing
from .critic import PairPixelCritic as PairPixelCritic
from .critic import PixelCritic as PixelCritic
from .metric import Images as Images
from .task import images as images
from .vq_vae import VqVae as VqVae
from .vq_vae import perplexity as perplexity

__all__ = ["ImageCodes", "Images", "PairPixelCritic", "PixelCritic", "VqVae", "drawing", "images", "perplexity"]
