"""A ladder on the machines of a Ray cluster; Ray is imported when it is used."""

from adaptive_sd.distributed.app import Replicas, app, serve

__all__ = ["Replicas", "app", "serve"]
