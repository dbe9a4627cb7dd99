"""What makes a public service of LoRA Lens: its settings, the guard at its door, and its deployment as a Space."""
