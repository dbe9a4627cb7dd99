"""Presets and settings: what they hold, and what is made of the values that replace them."""

from __future__ import annotations

import json

import pytest

from tuning import presets
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.errors import UserError


def test_presets_hold_the_original_experiment():
    original = presets.preset("original")
    assert (original.model, original.limit, original.max_steps, original.batch_size) == ("smollm2-360m", 3000, 1000, 16)
    assert (original.rank, original.alpha, original.dropout, original.warmup_steps) == (16, 16, 0.05, 100)
    assert (original.learning_rate, original.weight_decay, original.seed) == (1e-3, 0.01, 3825)
    assert (original.empty_input_only, original.data) == (True, presets.HUB_DATA)
    assert original.target_modules == ("q_proj", "k_proj", "v_proj", "o_proj")
    small = presets.preset("original-small")
    assert (small.limit, small.max_steps, small.warmup_steps, small.batch_size) == (300, 20, 1, 16)
    assert (small.rank, small.alpha, small.dropout, small.target_modules) == (16, 16, 0.05, original.target_modules)
    assert (small.learning_rate, small.weight_decay, small.seed) == (1e-3, 0.01, 3825)
    assert (small.sample_every, small.sample_question) == (small.max_steps, PROBE_QUESTIONS["fibonacci"])
    assert presets.DESCRIPTIONS.keys() == presets.PRESETS.keys()
    assert (original, small) == (presets.PRESETS["python-3000"], presets.PRESETS["python-300"])
    assert {presets.name_today(name) for name in presets.FORMER_NAMES} <= presets.PRESETS.keys()


def test_settings_survive_json():
    for config in presets.PRESETS.values():
        assert presets.from_dict(json.loads(json.dumps(presets.to_dict(config)))) == config


def test_overrides_are_converted_and_unknown_ones_named():
    config = presets.configure("quick", {"max_steps": "7", "target_modules": "q_proj, v_proj", "limit": "none"})
    assert (config.max_steps, config.target_modules, config.limit) == (7, ("q_proj", "v_proj"), None)
    with pytest.raises(UserError, match="did you mean 'max_steps'"):
        presets.configure("quick", {"max_step": 7})
