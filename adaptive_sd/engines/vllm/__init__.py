"""The engine that runs models with vLLM in this process's care."""
