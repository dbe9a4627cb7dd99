import pytest

from tuning import __version__
from tuning.__main__ import build_parser
from tuning.errors import UserError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("trian", "There is no command 'trian': did you mean train? (see python -m tuning --help)"),
        ("zzz", "There is no command 'zzz': choose among train, "),
        (
            "train --max-stps 3",
            "no option --max-stps: did you mean --max-steps? (see python -m tuning train --help)",
        ),
        ("train --max-stps=3", "did you mean --max-steps?"),
        ("train --zzzzzz", "There is no option --zzzzzz. (see python -m tuning train --help)"),
        ("train surplus", "There is no argument surplus"),
        ("export one", "The following arguments are required: out. (see python -m tuning export --help)"),
        ("data", "The following arguments are required: data command."),
        ("", "The following arguments are required: command."),
    ],
)
def test_a_slip_is_one_line_that_says_what_was_meant(words, said, capsys):
    with pytest.raises(UserError) as refusal:
        build_parser().parse_args(words.split())
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert capsys.readouterr() == ("", "")


def test_the_version(capsys):
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"LoRA Lens {__version__}\n"
