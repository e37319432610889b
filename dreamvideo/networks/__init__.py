"""Backbones by name: a network cut at the layers asked for, on the device asked for.

The only room that knows torchvision. Refuses to know what its activations or flows are used for.
"""

from dreamvideo.networks.backbone import Backbone, load_backbone
from dreamvideo.networks.catalogue import ModelEntry, describe_model, model_entries
from dreamvideo.networks.devices import memory_share, pick_device
from dreamvideo.networks.layers import Layer, Survey
from dreamvideo.networks.perceptual import load_lpips
from dreamvideo.networks.raft import load_raft
from dreamvideo.networks.survey import cost_shares

__all__ = [
    "Backbone",
    "Layer",
    "ModelEntry",
    "Survey",
    "cost_shares",
    "describe_model",
    "load_backbone",
    "load_lpips",
    "load_raft",
    "memory_share",
    "model_entries",
    "pick_device",
]
