"""Tasks: what a file may say, what it becomes, and what each error says."""

import pytest

from audit.errors import ConfigError
from audit.zoo.tasks import read_task, shipped_tasks

TASK = """
about = "letters"
source = "glyphs"

[dataset]
name = "glyphs"

[axes]
label_noise = [0.0, 0.3]
batch_size = [16, 64]

[[architectures]]
model = "test_resnet"

[[architectures]]
model = "test_vit"
name = "vit"
model_args = { img_size = 32 }
"""


def written(tmp_path, text, name="letters.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_task_becomes_every_combination_with_a_name_that_tells_them_apart(tmp_path):
    recipes = read_task(written(tmp_path, TASK)).recipes()
    assert [recipe.name for recipe in recipes] == [
        "test_resnet-noise0-batch16",
        "test_resnet-noise0-batch64",
        "test_resnet-noise0.3-batch16",
        "test_resnet-noise0.3-batch64",
        "vit-noise0-batch16",
        "vit-noise0-batch64",
        "vit-noise0.3-batch16",
        "vit-noise0.3-batch64",
    ]
    assert recipes[0].hyperparameters == {
        "hp.architecture": "test_resnet",
        "hp.label_noise": 0.0,
        "hp.batch_size": 16,
    }
    assert recipes[2].siblings == "test_resnet-noise0.3-*"
    assert recipes[-1].model_args == {"img_size": 32}


def test_task_of_a_file_finds_its_images_beside_it(tmp_path):
    (tmp_path / "pictures").mkdir()
    text = TASK.replace('name = "glyphs"', 'name = "image_folder"\nroot = "pictures"')
    task = read_task(written(tmp_path, text))
    assert task.dataset == {"name": "image_folder", "root": str(tmp_path / "pictures")}


@pytest.mark.parametrize("name", shipped_tasks())
def test_shipped_task_is_whole(name):
    task = read_task(name)
    recipes = task.recipes()
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert len(task.axes) >= 4
    if name != "demo":
        assert len(recipes) >= 48


def test_shipped_tasks_span_sources_architectures_and_ways_of_training():
    tasks = [read_task(name) for name in shipped_tasks() if name != "demo"]
    assert len(tasks) >= 8
    assert len({task.source for task in tasks}) >= 5
    assert len({one.label for task in tasks for one in task.architectures}) >= 10
    plain = [t for t in tasks if not {"label_noise", "augmentation"} & set(t.axes)]
    assert len(plain) >= 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("[16, 64]", "[16]"),
            "the file: Value error, axis batch_size needs two or more different",
        ),
        (("[16, 64]", "[16, 16]"), "axis batch_size needs two or more different values"),
        (("batch_size", "momentum"), "axes.momentum.[key]: Input should be 'label_noise', "),
        (("[0.0, 0.3]", "[0.0, 1.5]"), "Input should be less than 1"),
        (('name = "vit"', 'name = "test_resnet"'), "two architectures bear one name"),
        (('name = "glyphs"', 'title = "glyphs"'), "need the `name` of a dataset plugin"),
        (("about", "abot"), "about: Field required"),
        (("[axes]", "[axes"), "is not TOML"),
    ],
)
def test_task_that_cannot_be_used_says_what_is_wrong(tmp_path, change, said):
    path = written(tmp_path, TASK.replace(*change))
    with pytest.raises(ConfigError) as error:
        read_task(path)
    assert said in str(error.value)
    assert str(error.value).startswith(f"task {path}")


def test_unknown_task_lists_those_there_are():
    with pytest.raises(ConfigError) as error:
        read_task("digit")
    assert str(error.value).startswith("unknown task 'digit'")
    assert "digits, " in str(error.value)


def test_task_that_is_not_there_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.toml cannot be read: No such file or directory"):
        read_task(tmp_path / "no.toml")


def test_task_with_an_odd_name_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a task is named by its file: use lower-case letters"):
        read_task(written(tmp_path, TASK, "My task.toml"))
