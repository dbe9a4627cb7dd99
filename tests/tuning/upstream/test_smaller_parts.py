"""What argparse and Dagster keep to themselves is still there, and refused in one sentence where it has changed."""

import argparse

import pytest

from tuning.errors import UserError
from tuning.upstream.argparse_parts import Subcommands, actions
from tuning.upstream.expected import expect


def test_the_arguments_of_a_parser_are_listed_and_argparse_has_no_public_list():
    parser = argparse.ArgumentParser()
    parser.add_argument("--one")
    assert isinstance(parser.add_subparsers(), Subcommands)
    assert [action.dest for action in actions(parser)] == ["help", "one", "==SUPPRESS=="]
    assert not hasattr(parser, "actions"), "it is public now: take that"


def test_a_step_of_dagster_fails_with_one_line():
    pytest.importorskip("dagster", reason="dagster is not installed")
    from tuning.upstream.dagster_parts import step_error

    assert "one line" in str(step_error("one line"))


def test_a_package_without_a_version_is_refused_too():
    with pytest.raises(UserError, match=r"does not know no-such-package .*its heart is not what it was"):
        expect(False, "no-such-package", "its heart")
