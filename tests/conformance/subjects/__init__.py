"""All subjects; a file an engine.

To add an engine: a file here with its SUBJECTS (see Subject for what one says of itself), and a
line below. Where what it needs is not installed the subject says so in `absent`, so import it
inside `open`. Then `pytest tests/conformance` tells what it does not keep, and
`pytest tests/conformance --matrix docs/engines.md` puts what it showed into the matrix.
"""

from __future__ import annotations

from tests.conformance.subject import Subject
from tests.conformance.subjects import fake, llama_cpp, openai, transformers, vllm

SUBJECTS: tuple[Subject, ...] = (
    *llama_cpp.SUBJECTS,
    *transformers.SUBJECTS,
    *vllm.SUBJECTS,
    *openai.SUBJECTS,
    *fake.SUBJECTS,
)
