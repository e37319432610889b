"""Backbones by name: a network cut at the layer asked for, on the device asked for.

The only room that knows torchvision. Refuses to know what its activations or flows are used for.
"""

from dreamvideo.networks.backbone import load_features
from dreamvideo.networks.devices import pick_device
from dreamvideo.networks.raft import load_raft

__all__ = ["load_features", "load_raft", "pick_device"]
