"""The error tree. Messages say what was wrong, with which value, and what to do next.

AdaptiveSDError
├── ConfigError              a configuration or option that cannot be used
├── DataError                a task set, recording or outcome table that cannot be used
├── ArtifactError            a fitted artifact that cannot be used
├── ModelError
│   ├── UnknownModelError    no such catalogue name, hub id or file
│   ├── DamagedModelError    wrong size, hash or structure; never loaded
│   └── DownloadError        network, mirror or disk
└── EngineError
    ├── ContextOverflowError prompt longer than the context
    ├── CancelledError       the caller ended the answer
    ├── QueueFullError       more requests than may wait
    ├── MemoryLackError      a model does not fit into the memory
    ├── EndpointError        a server did not answer as it should; another stage may
    │   └── EndpointTimeoutError  nor in time
    └── EngineClosedError    used after close()
"""

from __future__ import annotations


class AdaptiveSDError(Exception):
    """Base of every error a user can act on; printed as one line, without traceback."""


class ConfigError(AdaptiveSDError):
    """A configuration or option cannot be used."""


class DataError(AdaptiveSDError):
    """A task set, recording or outcome table cannot be used."""


class ArtifactError(AdaptiveSDError):
    """A fitted artifact cannot be used."""


class ModelError(AdaptiveSDError):
    """A model cannot be had or used."""


class UnknownModelError(ModelError):
    """No catalogue name, hub id or file of that name."""


class DamagedModelError(ModelError):
    """A model file has the wrong size, hash or structure."""


class DownloadError(ModelError):
    """A model file could not be fetched."""


class EngineError(AdaptiveSDError):
    """An engine could not do its work."""


class ContextOverflowError(EngineError):
    """The prompt is longer than the stage's context."""


class CancelledError(EngineError):
    """The caller ended the answer before it was whole."""


class QueueFullError(EngineError):
    """More requests wait for a slot than may."""


class MemoryLackError(EngineError):
    """A model and its cache do not fit into the memory that is free."""


class EndpointError(EngineError):
    """A stage's server did not answer as it should."""


class EndpointTimeoutError(EndpointError):
    """A stage's server did not answer in time."""


class EngineClosedError(EngineError):
    """The engine was used after close()."""
