"""Options that the demo cannot use, and extras that are missing."""

import sys

import pytest

from functional_optim.demo.cli import main
from functional_optim.demo.extras import UsageError, require
from functional_optim.demo.optimizers import names
from functional_optim.demo.rules import PEAKS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rule", "adma"], "that --list-rules lists, got 'adma' (similar: adam"),
        (["--compare", "xyz123"], "rules that --list-rules lists, got 'xyz123'\n"),
        (["--rule", "dpsgd"], "dpsgd cannot train the network (it needs the gradient of each"),
        (["--epochs", "0"], "--epochs: must be a whole number from 1 to"),
        (["--epochs", "many"], "got 'many'"),
        (["--seed", "-1"], "--seed: must be a whole number from 0 to"),
        (["--batch-size", "1438"], "from 1 to 1437, got '1438'"),
    ],
)
def test_errors_of_bad_options_list_the_allowed_values(capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        main(options)
    assert message in capsys.readouterr().err


def test_rule_that_is_compared_with_itself_is_refused(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--rule", "soap", "--compare"]) == 2
    assert "--compare would train soap again" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_rules_are_listed_with_their_learning_rates(capsys):
    assert main(["--list-rules"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["rule", "rate"]
    assert [line.split()[0] for line in lines] == list(names())
    listed = {line.split()[0]: line.split()[1] for line in lines}
    assert float(listed["adamw"]) == PEAKS["adamw"]
    assert listed["lbfgs"] == "none"


def test_directory_that_cannot_be_written_to_is_refused(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file" / "out")]) == 2
    assert "--out must be a directory that can be written to" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["sklearn", "tqdm", "matplotlib", "orbax"])
def test_missing_extra_is_named(monkeypatch, tmp_path, capsys, module):
    for name in list(sys.modules):
        if name == module or name.startswith(f"{module}."):
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert f"needs {module}" in message
    assert "pip install 'functional_optim[demo]'" in message


def test_require_names_the_module_that_cannot_be_imported():
    with pytest.raises(UsageError, match="no_such_module, which cannot be imported"):
        require("no_such_module.part")


def test_help_says_how_a_run_is_resumed(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    assert "continues from the latest" in printed
    assert "--fresh starts over" in printed
