"""Values of options that are no numbers, sizes that no machine has, and files that never end."""

import pytest
from click.testing import CliRunner

from audit.cli import genaudit
from audit.errors import AuditError, ConfigError


@pytest.mark.parametrize(
    "given",
    [
        ["cache", "prune", "--older-than", "nan"],
        ["cache", "prune", "--older-than", "inf"],
        ["units", "--min-rate", "nan"],
        ["units", "--min-rate", "-inf"],
    ],
)
def test_numbers_of_options_are_finite(given):
    ended = CliRunner().invoke(genaudit, given)
    assert ended.exit_code == 2
    assert "finite number" in ended.output or "range" in ended.output


def test_a_size_beyond_memory_is_refused_in_words():
    given = ["layers", "test_resnet", "--size", "3,99999999999,99999999999"]
    error = CliRunner().invoke(genaudit, given).exception
    assert isinstance(error, ConfigError)
    assert str(error) == (
        "images of 3 × 99999999999 × 99999999999 are too large for this machine's memory"
    )


@pytest.mark.parametrize(
    "given",
    [["validate", "/dev/zero"], ["run", "/dev/zero"]],
)
def test_a_configuration_that_never_ends_is_refused(given):
    error = CliRunner().invoke(genaudit, given).exception
    assert isinstance(error, AuditError)
    assert "cannot be read" in str(error)


@pytest.mark.parametrize("kind", ["forms", "tasks"])
def test_forms_and_tasks_are_plain_files(tmp_path, kind):
    path = tmp_path / "zero.toml"
    path.symlink_to("/dev/zero")
    if kind == "forms":
        from audit.reproduction.form import read_form as read
    else:
        from audit.zoo.tasks import read_task as read
    with pytest.raises(ConfigError, match="cannot be read"):
        read(path)
