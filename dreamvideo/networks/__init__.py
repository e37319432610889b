"""Backbones by name: a network cut at the layers asked for, on the device asked for.

The only room that knows torchvision. Refuses to know what its activations or flows are used for.
"""

from dreamvideo.networks.backbone import Backbone, load_backbone
from dreamvideo.networks.devices import pick_device
from dreamvideo.networks.raft import load_raft

__all__ = ["Backbone", "load_backbone", "load_raft", "pick_device"]
