"""LoRA Lens as a Hugging Face Space: hardware, card, deployment, ZeroGPU, mirrored votes."""
