"""Folders of images: labels that never shift, and errors that say what was found."""

import hashlib
import os
import sys

import numpy as np
import pytest
from PIL import Image
from programs import run_program

import audit_datasets
from audit.data.sample import draw_sample
from audit.errors import ConfigError, DataError
from audit.plugin.registry import Registry

FOLDER = Registry({"datasets": audit_datasets}).dataset("image_folder")


def write(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (value, 0, 0)).save(path)


def open_root(root, **options):
    return FOLDER.open("train", {"root": str(root), **options})


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "train"
    for number, name in enumerate(["dog/b.png", "dog/a.PNG", "cat/x y.png", "éclair/深い/1.png"]):
        write(root / name, number)
    return root


def test_image_folder_labels_are_sorted_folder_names(root):
    split = open_root(root)
    assert split.class_names == ("cat", "dog", "éclair")
    assert split.sample_ids == ("cat/x y.png", "dog/a.PNG", "dog/b.png", "éclair/深い/1.png")
    assert split.labels.tolist() == [0, 1, 1, 2]
    assert split.labels.dtype == np.int64


def test_image_folder_agrees_with_torchvision(root):
    from torchvision.datasets import ImageFolder

    reference, split = ImageFolder(str(root)), open_root(root)
    assert tuple(reference.classes) == split.class_names
    found = [(str(root / i), int(t)) for i, t in zip(split.sample_ids, split.labels, strict=True)]
    assert sorted(found) == sorted(reference.samples)


def test_image_folder_loads_digests_and_stamps(root):
    split = open_root(root)
    assert split.load(1).getpixel((0, 0)) == (1, 0, 0)
    content = (root / "dog/a.PNG").read_bytes()
    assert split.digest(1) == hashlib.sha256(content).hexdigest()
    before = split.stamp(1)
    assert before == split.stamp(1)
    write(root / "dog/a.PNG", 200)
    assert split.stamp(1) != before


def test_image_folder_ignores_and_counts_other_files(root):
    (root / "dog/notes.txt").touch()
    (root / "dog/README").touch()
    (root / "dog/.hidden.png").touch()
    (root / ".cache").mkdir()
    split = open_root(root)
    assert len(split.sample_ids) == 4
    assert split.skipped == {".txt": 1, "no ending": 1, "hidden": 2}


def test_image_folder_reads_the_extensions_asked_for(root):
    write(root / "cat/z.jpg")
    write(root / "dog/z.jpg")
    write(root / "éclair/z.jpg")
    split = open_root(root, extensions=["JPG"])
    assert split.sample_ids == ("cat/z.jpg", "dog/z.jpg", "éclair/z.jpg")
    assert split.skipped == {".png": 4}


def test_image_folder_follows_links_but_not_in_circles(root, tmp_path):
    write(tmp_path / "elsewhere/1.png")
    (root / "bird").symlink_to(tmp_path / "elsewhere")
    (root / "dog/loop").symlink_to(root / "dog")
    (root / "dog/shelf").symlink_to(tmp_path / "elsewhere")  # two classes of one folder
    split = open_root(root)
    assert split.class_names[0] == "bird"
    assert "bird/1.png" in split.sample_ids
    assert len([name for name in split.sample_ids if name.startswith("dog/")]) == 2
    assert split.skipped == {
        "link to what the class has already": 1,
        "link into another class": 1,
    }


def links(root):
    """Classes with and without links: (names of images, what was passed over)."""
    split = open_root(root)
    by_class = [split.class_names[label] for label in split.labels]
    inside = {name.split("/")[0] for name in split.sample_ids}
    assert inside <= set(split.class_names)
    assert [name.split("/")[0] for name in split.sample_ids] == by_class
    return split.sample_ids, split.skipped


@pytest.mark.parametrize("target", ["", "..", "../..", "../../.."])
def test_image_folder_link_to_the_root_or_above_puts_no_class_into_another(root, target):
    plain = open_root(root).sample_ids
    (root / "cat/up").symlink_to(os.path.normpath(root / target))
    assert links(root) == (plain, {"link to a folder above": 1})


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_image_folder_link_beside_the_classes_that_leads_back_is_no_class(root, target):
    plain = open_root(root)
    (root / "again").symlink_to(os.path.normpath(root / target))
    assert open_root(root).class_names == plain.class_names
    assert links(root) == (plain.sample_ids, {"link to a folder above": 1})


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("dog", "link into another class"),
        ("dog/a.PNG", "link into another class"),
        ("éclair/深い", "link into another class"),
        ("cat/x y.png", "link to what the class has already"),
        ("nowhere", "broken link"),
    ],
)
def test_image_folder_link_within_the_root_gives_no_image_twice(root, target, reason):
    plain = open_root(root).sample_ids
    (root / "cat/also.png").symlink_to(root / target)
    assert links(root) == (plain, {reason: 1})


def test_image_folder_takes_a_linked_file_once_for_each_class(root, tmp_path):
    write(tmp_path / "store/7.png")
    for name in ("dog/1.png", "dog/2.png", "cat/1.png"):
        (root / name).symlink_to(tmp_path / "store/7.png")
    found, skipped = links(root)
    assert {name for name in found if name.endswith(("1.png", "2.png"))} == {
        "cat/1.png",
        "dog/1.png",
        "éclair/深い/1.png",
    }
    assert skipped == {"link to what the class has already": 1}


def test_image_folder_of_links_into_a_hidden_store_is_read(tmp_path):
    for number, name in enumerate(["a/1.png", "a/2.png", "b/1.png"]):
        write(tmp_path / f"root/.annex/{number}.png", number)
        (tmp_path / "root" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "root" / name).symlink_to(f"../.annex/{number}.png")
    assert links(tmp_path / "root") == (("a/1.png", "a/2.png", "b/1.png"), {"hidden": 1})


def test_image_folder_walks_linked_circles_elsewhere_once(root, tmp_path):
    write(tmp_path / "far/one/1.png")
    write(tmp_path / "far/two/2.png")
    (tmp_path / "far/one/on").symlink_to(tmp_path / "far/two")
    (tmp_path / "far/two/back").symlink_to(tmp_path / "far/one")
    (root / "cat/far").symlink_to(tmp_path / "far/one")
    found, skipped = links(root)
    assert [name for name in found if "far" in name] == ["cat/far/1.png", "cat/far/on/2.png"]
    assert skipped == {"link to what the class has already": 1}


def test_image_folder_refuses_two_classes_of_one_folder(root):
    (root / "hound").symlink_to(root / "dog")
    with pytest.raises(DataError) as caught:
        open_root(root)
    assert str(caught.value) == (
        f"the class folders 'dog' and 'hound' of {root} are one folder, or one leads into the "
        "other, so that an image would have two classes; remove the link"
    )


def test_image_folder_passes_over_pipes_and_files_beside_the_classes(root):
    os.mkfifo(root / "dog/pipe.png")
    write(root / "stray.png")
    assert open_root(root).skipped == {
        "neither a file nor a folder": 1,
        "outside class folders": 1,
    }


@pytest.mark.parametrize("name", ["val", "Test", "validation", "val2017", "my-test_set", "heldOut"])
def test_image_folder_refuses_a_root_that_is_named_as_held_out(root, name):
    other = root.rename(root.with_name(name))
    with pytest.raises(DataError) as caught:
        open_root(other)
    assert str(caught.value) == (
        f"the root of image_folder, {other}, is named as validation or test data are; measures "
        "are taken on the images that the networks were trained on, so that held-out accuracies "
        "stay unseen; give the training folder, or rename this one if its images are the training "
        "set"
    )


def test_image_folder_sees_through_links_and_generic_names(root, tmp_path):
    (tmp_path / "val").mkdir()
    inner = root.rename(tmp_path / "val/images")
    (tmp_path / "innocent").symlink_to(inner)
    for path in (inner, tmp_path / "innocent"):
        with pytest.raises(DataError, match="is named as validation or test data are"):
            open_root(path)


@pytest.mark.parametrize("name", ["latest", "contest", "valley", "train_test", "trainval", "evals"])
def test_image_folder_takes_roots_whose_names_only_resemble(root, name):
    assert open_root(root.rename(root.with_name(name))).class_names == ("cat", "dog", "éclair")


def test_image_folder_opens_any_folder_for_comparison(tmp_path):
    write(tmp_path / "val/deep/1.png")
    write(tmp_path / "val/2.jpg")
    (tmp_path / "val/notes.txt").touch()
    split = FOLDER.open_held_out({"root": str(tmp_path / "val")})
    assert split.sample_ids == ("val/2.jpg", "val/deep/1.png")
    assert split.skipped == {".txt": 1}
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"^held-out folder .*none holds no image of \.jpg"):
        FOLDER.open_held_out({"root": str(tmp_path / "none")})


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_image_folder_names_that_are_not_utf8_stay_printable(root):
    folder = os.fsencode(root / "cat")
    source = os.path.join(folder, b"x y.png")
    os.rename(source, os.path.join(folder, b"\xff.png"))
    split = open_root(root)
    assert split.sample_ids[0] == "cat/\\xff.png"
    assert split.load(0).size == (4, 3)


def test_image_folder_takes_names_of_255_bytes(root):
    write(root / "cat" / ("é" * 125 + "a.png"))
    assert len(open_root(root).sample_ids) == 5


def test_image_folder_survives_a_corrupt_image(root):
    (root / "dog/a.PNG").write_bytes((root / "dog/a.PNG").read_bytes()[:40])
    split = open_root(root)
    sample = draw_sample(split, None, seed=0)
    assert list(sample.excluded) == ["dog/a.PNG"]
    assert sorted(sample.sample_ids) == ["cat/x y.png", "dog/b.png", "éclair/深い/1.png"]


def test_image_folder_that_vanishes_is_excluded_by_name(root):
    split = open_root(root)
    (root / "dog/a.PNG").unlink()
    assert list(draw_sample(split, None, seed=0, memo={}).excluded) == ["dog/a.PNG"]


@pytest.mark.parametrize("option", ["split", "train", "download"])
def test_image_folder_refuses_split_options(root, option):
    with pytest.raises(ConfigError) as caught:
        open_root(root, **{option: "train"})
    assert str(caught.value) == (
        f"unknown option '{option}'; the options of image_folder are root, extensions, "
        "held_out_root"
    )


def test_image_folder_suggests_the_nearest_option(root):
    with pytest.raises(ConfigError, match=r"unknown option 'extension'; did you mean 'extensions'"):
        open_root(root, extension=[".png"])


@pytest.mark.parametrize("value", ["png", [], [1], ["."], None])
def test_image_folder_refuses_odd_extensions(root, value):
    with pytest.raises(ConfigError) as caught:
        open_root(root, extensions=value)
    assert str(caught.value) == (
        f"image_folder: extensions must be a list of strings; found {value!r}"
    )


@pytest.mark.parametrize("value", [None, "", 3])
def test_image_folder_needs_a_root(value):
    with pytest.raises(ConfigError) as caught:
        FOLDER.open("train", {"root": value})
    assert str(caught.value) == (
        "image_folder needs the option root: the folder that holds one folder of images per "
        f"class; found {value!r}"
    )


def test_image_folder_has_no_held_out_split(root):
    with pytest.raises(ConfigError) as caught:
        FOLDER.open("held_out", {"root": str(root)})
    assert str(caught.value) == (
        "image_folder is a training set and has no held-out split; "
        "give held-out accuracies in [held_out].table"
    )


def open_held_out(root, held_out_root, **options):
    return FOLDER.open(
        "held_out", {"root": str(root), "held_out_root": str(held_out_root), **options}
    )


@pytest.fixture
def held_out_root(tmp_path):
    root = tmp_path / "other"
    for number, name in enumerate(["dog/a.PNG", "cat/2.png", "cat/1.png", "éclair/1.png"]):
        write(root / name, 10 + number)
    return root


def test_image_folder_reads_a_held_out_folder_where_one_is_named(root, held_out_root):
    split = open_held_out(root, held_out_root)
    assert split.class_names == open_root(root).class_names
    assert split.sample_ids == ("cat/1.png", "cat/2.png", "dog/a.PNG", "éclair/1.png")
    assert split.labels.tolist() == [0, 0, 1, 2]
    assert split.load(0).getpixel((0, 0)) == (12, 0, 0)


def test_image_folder_train_never_looks_at_the_held_out_folder(root, tmp_path):
    absent = tmp_path / "nowhere"
    split = open_root(root, held_out_root=str(absent))
    assert split.sample_ids == open_root(root).sample_ids
    with pytest.raises(DataError) as caught:
        open_held_out(root, absent)
    assert str(caught.value) == (
        f"the held_out_root of image_folder must be a folder, but {absent}: it does not exist"
    )


def test_image_folder_held_out_needs_the_same_classes(root, held_out_root):
    (held_out_root / "dog").rename(held_out_root / "wolf")
    with pytest.raises(DataError) as caught:
        open_held_out(root, held_out_root)
    assert str(caught.value) == (
        f"the held-out folder {held_out_root} must hold the class folders of {root}; "
        "missing: dog; not in training: wolf"
    )
    (held_out_root / "wolf").rename(held_out_root / "dog")
    write(held_out_root / "emu/1.png")
    with pytest.raises(DataError, match=r"; not in training: emu$"):
        open_held_out(root, held_out_root)


def test_image_folder_held_out_folder_needs_images_in_every_class(root, held_out_root):
    (held_out_root / "dog/a.PNG").unlink()
    with pytest.raises(DataError, match="but dog has none; images per class: cat: 2, dog: 0"):
        open_held_out(root, held_out_root)


@pytest.mark.parametrize("value", ["", 3])
def test_image_folder_refuses_an_odd_held_out_root(root, value):
    with pytest.raises(ConfigError) as caught:
        FOLDER.open("held_out", {"root": str(root), "held_out_root": value})
    assert str(caught.value) == (
        "image_folder needs the option held_out_root: the folder that holds one folder of images "
        f"per class; found {value!r}"
    )


def test_image_folder_names_a_missing_root(tmp_path):
    missing, file = tmp_path / "missing", tmp_path / "file"
    file.touch()
    for path, found in ((missing, "it does not exist"), (file, "it is not a folder")):
        with pytest.raises(DataError) as caught:
            open_root(path)
        assert str(caught.value) == (
            f"the root of image_folder must be a folder, but {path}: {found}"
        )


def test_image_folder_refuses_a_root_of_splits(tmp_path):
    for split in ("Train", "val", "test"):
        write(tmp_path / split / "dog/1.png")
        write(tmp_path / split / "cat/1.png")
    with pytest.raises(DataError) as caught:
        open_root(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds splits (Train, test, val), not classes; choose the training split: "
        f'root = "{tmp_path / "Train"}"'
    )


def test_image_folder_accepts_a_class_named_test(tmp_path):
    write(tmp_path / "test/1.png")
    write(tmp_path / "exam/1.png")
    assert open_root(tmp_path).class_names == ("exam", "test")


def test_image_folder_names_empty_classes_with_all_counts(root):
    (root / "bird").mkdir()
    (root / "dog/notes.txt").touch()
    with pytest.raises(DataError) as caught:
        open_root(root)
    assert str(caught.value) == (
        f"every class folder of {root} must hold an image, but bird has none; images per class: "
        "bird: 0, cat: 1, dog: 2, éclair: 1; passed over: 1 × .txt; "
        "fill or remove the empty folders"
    )


@pytest.mark.parametrize("names", [[], ["only"]])
def test_image_folder_needs_two_classes(tmp_path, names):
    for name in names:
        write(tmp_path / name / "1.png")
    write(tmp_path / "stray.png")
    with pytest.raises(DataError) as caught:
        open_root(tmp_path)
    shown = "1: only" if names else "0"
    assert str(caught.value) == (
        f"{tmp_path} must hold one folder of images per class, at least 2; found {shown}"
    )


def test_importing_the_plugin_loads_nothing_heavy():
    code = (
        "import sys, audit_datasets, audit_timm, audit_factory, audit_engines\n"
        "for p in (audit_datasets, audit_timm, audit_factory, audit_engines):\n"
        "    [getattr(p, n)() for n in dir(p) if n.startswith('genaudit_')]\n"
        "print({'torch', 'timm', 'sklearn', 'torchvision', 'PIL'} & set(sys.modules))"
    )
    code = f"import sys; sys.path[:0] = {sys.path!r}\n{code}"
    assert run_program([sys.executable, "-c", code]).stdout == "set()\n"
