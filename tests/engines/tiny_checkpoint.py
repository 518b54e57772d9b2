"""Makes a tiny random model as a folder of safetensors, with a tokenizer of bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from tests.engines.tiny_gguf import CONTEXT, FEED, HEADS, LAYERS, SPECIAL, TEMPLATE, WIDTH

NUM_TOKENS = 257 + len(SPECIAL)


def write_tiny_checkpoint(
    folder: Path,
    *,
    kind: str = "Llama",
    template: str = TEMPLATE,
    context: int = CONTEXT,
    **config: Any,
) -> Path:
    """A model whose every byte is one token, but for "ab"; seeded, in 32 bits."""
    torch.manual_seed(0)
    options = {
        "vocab_size": NUM_TOKENS,
        "hidden_size": WIDTH,
        "intermediate_size": FEED,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS // 2,
        "max_position_embeddings": context,
        "initializer_range": 0.35,
        "tie_word_embeddings": False,
        "bos_token_id": 257,
        "eos_token_id": 259,
        "pad_token_id": 257,
    }
    made = getattr(transformers, f"{kind}Config")(**options | config)
    net = transformers.AutoModelForCausalLM.from_config(made, dtype=torch.float32)
    with torch.no_grad():
        net.get_input_embeddings().weight.normal_()
        head = net.get_output_embeddings().weight
        head.normal_(std=0.6)
        for start, end in ((0, 32), (127, 256), (257, 259)):
            head[start:end] = 0  # prefers printable ASCII, so that its text is whole
    net.save_pretrained(folder, safe_serialization=True)
    write_tokenizer(folder, template)
    return folder


def write_tokenizer(folder: Path, template: str) -> None:
    """Byte b is token b."""
    characters = pre_tokenizers.ByteLevel.alphabet()
    order = {_byte_of(c): c for c in characters}
    vocabulary = {order[b]: b for b in range(256)} | {"ab": 256}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    _save(tokenizer, folder, template)


def write_spaced_tokenizer(folder: Path, *, in_normalizer: bool, template: str = TEMPLATE) -> None:
    """As SentencePiece's of Llama 2: a space is put before a text, by the one part or the other.

    Token 256 is a space, byte b otherwise token b.
    """
    vocabulary = {f"<0x{b:02X}>": b for b in range(256)} | {"\u2581": 256}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    if in_normalizer:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    _save(tokenizer, folder, template)


def _save(tokenizer: Tokenizer, folder: Path, template: str) -> None:
    tokenizer.add_special_tokens([AddedToken(s, special=True) for s in SPECIAL])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[2]
    )
    fast.chat_template = template
    fast.save_pretrained(folder)


def _byte_of(character: str) -> int:
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    return ord(character) if ord(character) in kept else others[ord(character) - 256]
