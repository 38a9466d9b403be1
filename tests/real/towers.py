"""Tiny CLIP and SigLIP folders with random weights and a tokenizer of a few words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIDE = 32
SETTINGS = {
    "do_resize": True,
    "size": {"height": SIDE, "width": SIDE},
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.25, 0.3],
    "resample": 2,
}
WORDS = ["a", "photo", "of", "this", "is", "cat", "dog", "red", "car", "tree", ".", "This"]


def save(folder: Path, family: str) -> Any:
    """Write model, tokenizer and image processor settings; return the model."""
    import tokenizers
    import torch
    import transformers

    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    text = {**sizes, "vocab_size": 20, "max_position_embeddings": 12, "eos_token_id": 1,
            "bos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    vision = {**sizes, "image_size": SIDE, "patch_size": 8}
    if family == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        model = transformers.CLIPModel(config)
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model = transformers.SiglipModel(config)
    with torch.no_grad():
        # As initialised, all images and all texts are nearly alike: parity would prove nothing.
        for name, value in model.named_parameters():
            if value.dim() > 1:
                value.copy_(torch.randn_like(value) * (0.3 if "weight" in name else 0.1))
        model.logit_scale.fill_(1.5)
        if family != "clip":
            model.logit_bias.fill_(-0.7)
    model.eval().save_pretrained(folder)
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<end>", "<start>", "<unk>", *WORDS])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 1)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    ).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(SETTINGS))
    return model
