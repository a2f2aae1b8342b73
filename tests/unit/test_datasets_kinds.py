"""Every kind of training set, on files that the real packages wrote: contract, labels, guard."""

import csv
import gzip
import io
import json
import pickle
import struct
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

import audit_datasets
from audit.conformance import check_dataset
from audit.data.pixels import UPRIGHT, oddities
from audit.data.sample import draw_sample
from audit.errors import ConfigError, DataError
from audit.plugin.registry import Registry

REGISTRY = Registry({"datasets": audit_datasets})
NAMED = "named as validation or test data are"
GUARDED = "measures are taken on the images that the networks were trained on"


def picture(number, size=(9, 7), mode="RGB"):
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def png(number):
    buffer = io.BytesIO()
    picture(number).save(buffer, "PNG")
    return buffer.getvalue()


def same(image, number):
    return np.array_equal(np.asarray(image), np.asarray(picture(number)))


def kind(name):
    return REGISTRY.dataset(name)


def refusal(name, options, split="train"):
    with pytest.raises((DataError, ConfigError)) as caught:
        kind(name).open(split, options)
    return str(caught.value)


def test_every_module_of_the_package_holds_a_kind():
    assert set(audit_datasets.modules()) == {
        *("arrays", "class_map", "csv_table", "digits", "glyphs", "huggingface", "image_folder"),
        *("patches", "shapes", "sounds", "textures"),
        *("timm_factory", "torch_dataset", "torchvision_sets", "webdataset_shards"),
    }


def test_every_kind_names_the_extra_of_a_missing_package(monkeypatch, tmp_path):
    import sys

    (tmp_path / "state.json").write_text("{}")
    (tmp_path / "train").mkdir()
    cases = {
        "glyphs": ("matplotlib", "glyphs", {}),
        "huggingface": ("datasets", "huggingface", {"root": str(tmp_path)}),
        "timm": ("timm.data", "timm", {"root": str(tmp_path)}),
    }
    for name, (module, extra, options) in cases.items():
        monkeypatch.setitem(sys.modules, module, None)
        assert refusal(name, options) == (
            f"dataset {name!r} needs the package {module.partition('.')[0]!r}, which cannot be "
            f"imported (import of {module} halted; None in sys.modules); install it: "
            f"pip install 'genaudit[{extra}]'"
        )


# arrays


@pytest.fixture
def arrays(tmp_path):
    images = np.stack([np.asarray(picture(k)) for k in range(6)])
    path = tmp_path / "digits.npz"
    names = np.array(["up", "down", "left"])
    np.savez(path, images=images, labels=np.array([0, 1, 2, 0, 1, 2]), class_names=names)
    return {"path": str(path)}


def test_arrays_keep_the_contract(arrays):
    split = check_dataset(kind("arrays"), arrays, ["train"])
    assert split.class_names == ("up", "down", "left")
    assert split.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert same(split.load(4), 4)


def test_arrays_from_python_need_no_file():
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    options = kind("arrays").adopt((images, torch.tensor([0, 1, 0, 1])))
    split = kind("arrays").open("train", {**options, "class_names": ["a", "b"]})
    assert split.load(0).size == (8, 8)
    assert split.class_names == ("a", "b")
    assert kind("arrays").adopt([1, 2]) is None


def test_arrays_read_no_pickle(tmp_path):
    class Gadget:
        def __reduce__(self):
            return (open, (str(tmp_path / "canary"), "w"))

    path = tmp_path / "x.npz"
    np.savez(path, images=np.array([Gadget()], dtype=object), labels=np.array([0]))
    assert refusal("arrays", {"path": str(path)}).startswith(
        f"arrays {path} cannot be read without pickle: Object arrays cannot be loaded"
    )
    assert not (tmp_path / "canary").exists()
    path.write_bytes(pickle.dumps(Gadget()))
    assert "cannot be read without pickle" in refusal("arrays", {"path": str(path)})
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": np.zeros(2, int)}, "arrays: images and labels are needed; images is missing"),
        (
            {"images": np.zeros((3, 4, 4)), "labels": np.zeros(2, int)},
            "arrays: images of shape (n, height, width) or with channels and labels of shape (n,) "
            "are needed, n at least 1; found (3, 4, 4) and (2,)",
        ),
        (
            {"images": np.zeros((2, 4, 4)), "labels": np.array([0, -1])},
            "arrays: labels must be from 0 to 0; found -1 to 0; −1 is how test images without "
            "labels are published",
        ),
        (
            {
                "images": np.zeros((2, 4, 4)),
                "labels": np.array([0, 2]),
                "class_names": np.array(["a", "b"]),
            },
            "arrays: labels must be from 0 to 1; found 0 to 2",
        ),
    ],
)
def test_arrays_say_what_does_not_fit(tmp_path, content, message):
    np.savez(tmp_path / "x.npz", **content)
    assert refusal("arrays", {"path": str(tmp_path / "x.npz")}) == message


def test_arrays_named_as_test_data_are_refused_but_can_be_compared(arrays, tmp_path):
    (tmp_path / "digits.npz").rename(tmp_path / "test.npz")
    path = str(tmp_path / "test.npz")
    assert NAMED in refusal("arrays", {"path": path})
    assert len(kind("arrays").open_held_out({"path": path}).labels) == 6


# csv


def write_csv(path, rows, **options):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, **options).writerows(rows)
    return {"path": str(path)}


@pytest.fixture
def table(tmp_path):
    for number in range(5):
        picture(number).save(tmp_path / f"{number}.png")
    rows = [("path", "label"), *((f"{k}.png", ["NA", "b", "nan"][k % 3]) for k in range(5))]
    return write_csv(tmp_path / "list.csv", rows)


def test_csv_keeps_the_contract_and_words_that_pandas_takes_for_nothing(table):
    split = check_dataset(kind("csv"), table, ["train"])
    assert split.class_names == ("NA", "b", "nan")
    assert split.labels.tolist() == [0, 1, 2, 0, 1]
    assert split.sample_ids[3] == "3.png"
    assert same(split.load(3), 3)


def test_csv_takes_the_rows_of_the_training_split_and_counts_the_others(tmp_path, table):
    rows = [("split", "label", "path")]
    rows += [("train", 0, "0.png"), ("train", 1, "1.png"), ("test", 1, "2.png")]
    rows += [("train", 1, "1.png")]
    options = write_csv(tmp_path / "all.csv", rows)
    split = kind("csv").open("train", options)
    assert split.sample_ids == ("0.png", "1.png")
    assert split.skipped == {"split 'test'": 1, "listed twice": 1}
    assert NAMED in refusal("csv", {**options, "split": "test"})
    assert kind("csv").open_held_out({**options, "split": "test"}).sample_ids == ("2.png",)
    assert refusal("csv", {**options, "split": "trian"}) == (
        f"csv {tmp_path / 'all.csv'} has no row of the split 'trian'; found 'test', 'train'"
    )


def test_csv_refuses_two_labels_for_one_image(tmp_path):
    options = write_csv(tmp_path / "x.csv", [("path", "label"), ("a.png", 0), ("a.png", 1)])
    assert refusal("csv", options) == (
        f"csv {tmp_path / 'x.csv'} gives image 'a.png' two labels, '0' and '1'; keep one row"
    )


def test_csv_names_missing_columns_and_takes_others(tmp_path, table):
    rows = [("file", "kind"), ("0.png", "x"), ("1.png", "y")]
    options = write_csv(tmp_path / "x.csv", rows, delimiter=";")
    assert refusal("csv", {**options, "delimiter": ";"}) == (
        f"csv {tmp_path / 'x.csv'} needs rows with the columns 'path', 'label'; found 2 rows with "
        "the columns 'file', 'kind'; the options image and label name others"
    )
    named = {"delimiter": ";", "image": "file", "label": "kind"}
    assert kind("csv").open("train", {**options, **named}).class_names == ("x", "y")


def test_csv_excludes_files_that_are_not_there(tmp_path, table):
    (tmp_path / "0.png").unlink()
    sample = draw_sample(kind("csv").open("train", table), None, seed=0)
    assert list(sample.excluded) == ["0.png"]


# class maps


@pytest.fixture
def mapped(tmp_path):
    for number, name in enumerate(["a/10/x.png", "b/2/y.png", "10/z.png", "other/w.png"]):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(tmp_path / "images" / name)
    (tmp_path / "class_map.txt").write_text("2\n10\n")
    return {"root": str(tmp_path / "images"), "class_map": str(tmp_path / "class_map.txt")}


def test_class_map_agrees_with_timm(mapped):
    from timm.data.readers.reader_image_folder import ReaderImageFolder

    split = check_dataset(kind("class_map"), mapped, ["train"])
    assert split.class_names == ("2", "10")
    reader = ReaderImageFolder(mapped["root"], class_map=mapped["class_map"])
    theirs = {str(path): label for path, label in reader.samples}
    ours = {str(split.path(k)): int(label) for k, label in enumerate(split.labels)}
    assert ours == theirs
    assert split.skipped == {"in a folder without class: other": 1}


def test_class_map_says_what_is_wrong_with_the_file(mapped, tmp_path):
    file = tmp_path / "class_map.txt"
    file.write_text("2\n\n10\n")
    assert refusal("class_map", mapped) == (
        f"class map {file} has an empty line, 2, which timm would count as a class; remove it if "
        "the networks were trained without"
    )
    file.write_text("2\n2\n")
    assert refusal("class_map", mapped) == (
        f"class map {file} must name different classes, 2 or more; found '2' twice"
    )
    file.write_text("wolf\nfox\n")
    assert refusal("class_map", mapped).startswith(
        f"no image below {tmp_path / 'images'} lies in a folder that the class map names; it names "
        "'wolf', 'fox', and the images lie in "
    )


# glyphs


def test_glyphs_keep_the_contract():
    pytest.importorskip("matplotlib", reason="glyphs are drawn with matplotlib's fonts")
    options = {"letters": "abc", "images_per_font": 2}
    split = check_dataset(kind("glyphs"), options)
    held_out = kind("glyphs").open("held_out", options)
    assert split.class_names == ("a", "b", "c")
    families = [{name.split("/")[1] for name in one.sample_ids} for one in (split, held_out)]
    assert not families[0] & families[1]
    assert len(families[0] | families[1]) == 22
    pixels = {np.asarray(split.load(k)).tobytes() for k in range(len(split.labels))}
    assert len(pixels) == len(split.labels)
    assert all(np.asarray(split.load(k)).max() > 200 for k in range(0, len(split.labels), 7))


def test_glyphs_are_split_by_the_seed():
    pytest.importorskip("matplotlib", reason="glyphs are drawn with matplotlib's fonts")
    drawn = {kind("glyphs").open("held_out", {"seed": s}).sample_ids for s in range(6)}
    assert len(drawn) > 1


@pytest.mark.parametrize(
    "options",
    [
        {"letters": "a"},
        {"letters": "a-b"},
        {"side": 2},
        {"held_out_rate": 1},
        {"images_per_font": 0},
    ],
)
def test_glyphs_refuse_odd_options(options):
    (name, value), *_ = options.items()
    message = refusal("glyphs", options)
    assert message.startswith(f"glyphs: {name} must be")
    assert message.endswith(f"found {value!r}")


# Hugging Face


@pytest.fixture
def saved(tmp_path):
    datasets = pytest.importorskip("datasets", reason="writes what is read here")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "ant", "bee"])}
    )
    rows = {"image": [picture(k) for k in range(6)], "label": [0, 1, 2, 0, 1, 2]}
    train = datasets.Dataset.from_dict(rows, features=features, split="train")
    rows = {"image": [picture(90 + k) for k in range(3)], "label": [0, 1, 2]}
    test = datasets.Dataset.from_dict(rows, features=features, split="test")
    return datasets.DatasetDict({"train": train, "test": test})


def check_pets(split):
    assert split.class_names == ("cat", "ant", "bee")
    assert split.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert same(split.load(4), 4)


def test_huggingface_reads_what_save_to_disk_wrote(saved, tmp_path):
    saved.save_to_disk(tmp_path / "pets")
    options = {"root": str(tmp_path / "pets")}
    check_pets(check_dataset(kind("huggingface"), options, ["train"]))
    assert NAMED in refusal("huggingface", {**options, "split": "test"})
    assert NAMED in refusal("huggingface", {"root": str(tmp_path / "pets/test")})
    assert refusal("huggingface", {**options, "split": "extra"}) == (
        "huggingface: there is no split 'extra'; found 'train', 'test'"
    )
    held_out = kind("huggingface").open_held_out({**options, "split": "test"})
    assert same(held_out.load(1), 91)


def test_huggingface_refuses_a_single_dataset_that_says_it_is_a_test_split(saved, tmp_path):
    saved["test"].save_to_disk(tmp_path / "pets")
    assert NAMED in refusal("huggingface", {"root": str(tmp_path / "pets")})
    assert NAMED in refusal("huggingface", {"object": saved["test"]})


def test_huggingface_reads_parquet_with_and_without_splits_in_names(saved, tmp_path):
    folder = tmp_path / "pets/data"
    folder.mkdir(parents=True)
    saved["train"].to_parquet(folder / "train-00000-of-00001.parquet")
    saved["test"].to_parquet(folder / "test-00000-of-00001.parquet")
    options = {"root": str(tmp_path / "pets")}
    check_pets(check_dataset(kind("huggingface"), options, ["train"]))
    assert NAMED in refusal("huggingface", {"root": str(folder / "test-00000-of-00001.parquet")})
    (folder / "train-00000-of-00001.parquet").rename(tmp_path / "pets.parquet")
    assert refusal("huggingface", options) == (
        f"huggingface: no parquet file of {tmp_path / 'pets'} is named after the split 'train'; "
        "found 'test-00000-of-00001.parquet'"
    )
    check_pets(kind("huggingface").open("train", {"root": str(tmp_path / "pets.parquet")}))


def test_huggingface_turns_images_upright_as_datasets_does(tmp_path):
    datasets = pytest.importorskip("datasets", reason="what it does is compared with")
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(2):
        picture(number).save(tmp_path / f"{number}.png", exif=exif)
    rows = {"image": [str(tmp_path / f"{k}.png") for k in range(2)], "label": ["x", "y"]}
    made = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    options = kind("huggingface").adopt(made)
    split = kind("huggingface").open("train", options)
    assert split.load(0).size == (7, 9)
    assert np.array_equal(np.asarray(split.load(0)), np.asarray(made[0]["image"]))
    assert oddities(split.load(0)) == (UPRIGHT,)
    assert split.class_names == ("x", "y")


def test_huggingface_refuses_unlabelled_images(saved):
    blank = saved["train"].remove_columns("label").add_column("label", [-1] * 6)
    assert refusal("huggingface", {"object": blank}).startswith(
        "huggingface: labels must be from 0 to -1; found -1 to -1"
    ) or "−1 is how test images" in refusal("huggingface", {"object": blank})


def test_huggingface_names_the_columns(saved, tmp_path):
    renamed = saved["train"].rename_column("image", "img")
    assert refusal("huggingface", {"object": renamed}) == (
        "huggingface: the columns 'image', 'label' are needed; found 'img', 'label'; the options "
        "image and label name others"
    )
    check_pets(kind("huggingface").open("train", {"object": renamed, "image": "img"}))


# WebDataset


def write_shards(folder, name="train"):
    webdataset = pytest.importorskip("webdataset", reason="writes what is read here")
    for shard in range(2):
        with webdataset.TarWriter(str(folder / f"{name}-{shard:03d}.tar")) as sink:
            for k in range(3):
                number = 3 * shard + k
                sink.write({"__key__": f"{number:06d}", "png": png(number), "cls": number % 3})
    return {"shards": str(folder / f"{name}-{{000..001}}.tar")}


def test_webdataset_keeps_the_contract_on_shards_that_webdataset_wrote(tmp_path):
    options = write_shards(tmp_path)
    split = check_dataset(kind("webdataset"), options, ["train"])
    assert split.class_names == ("0", "1", "2")
    assert split.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert split.sample_ids[4] == "train-001.tar/000004"
    assert same(split.load(4), 4)
    assert split.stamp(4) != split.stamp(1)
    for shards in (str(tmp_path / "*.tar"), [str(tmp_path / f"train-00{k}.tar") for k in (1, 0)]):
        assert kind("webdataset").open("train", {"shards": shards}).sample_ids == split.sample_ids


def test_webdataset_reads_json_labels_folders_and_counts_the_rest(tmp_path):
    members = [
        ("a/1.jpg", png(0)),
        ("a/1.json", json.dumps({"kind": "cat"}).encode()),
        ("b/1.png", png(1)),
        ("b/1.json", json.dumps({"kind": "ant"}).encode()),
        ("c/1.png", png(2)),
        ("d/1.txt", b"nothing"),
        ("d/1.cls", b"cat"),
    ]
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    options = {"shards": str(tmp_path / "x.tar"), "label": "kind"}
    split = check_dataset(kind("webdataset"), options, ["train"])
    assert split.class_names == ("ant", "cat")
    assert split.sample_ids == ("x.tar/a/1", "x.tar/b/1")
    assert split.skipped == {"sample without label": 1, "sample without image": 1}


def test_webdataset_refuses_held_out_damaged_and_compressed_shards(tmp_path):
    options = write_shards(tmp_path, "val")
    assert NAMED in refusal("webdataset", options)
    assert len(kind("webdataset").open_held_out(options).labels) == 6
    whole = (tmp_path / "val-000.tar").read_bytes()
    for content in (whole[:900], gzip.compress(whole), b"nothing", b""):
        (tmp_path / "x.tar").write_bytes(content)
        message = refusal("webdataset", {"shards": str(tmp_path / "x.tar")})
        assert str(tmp_path / "x.tar") in message
    assert refusal("webdataset", {"shards": str(tmp_path / "none-*.tar")}).endswith(
        "matches no file"
    )
    assert refusal("webdataset", {"shards": 3}).endswith("or a list of these; found 3")


# torch


class Squares(torch.utils.data.Dataset):
    def __init__(self, n=6, transform=None, **said):
        self.n, self.transform = n, transform
        vars(self).update(said)

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        image = picture(index)
        return (self.transform(image) if self.transform else image), index % 3


def held_out_squares():
    return Squares(train=False)


def test_torch_dataset_keeps_the_contract():
    split = check_dataset(kind("torch_dataset"), {"object": Squares()}, ["train"])
    assert split.class_names == ("0", "1", "2")
    assert split.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert same(split.load(4), 4)
    assert kind("torch_dataset").adopt(Squares())["object"].n == 6
    assert kind("torch_dataset").adopt([1]) is None


def test_torch_dataset_takes_a_factory_subsets_and_tensors():
    factory = {"factory": f"{__name__}:Squares", "args": {"n": 4}}
    assert len(kind("torch_dataset").open("train", factory).labels) == 4
    part = torch.utils.data.Subset(Squares(targets=[0, 1, 2, 0, 1, 2]), [4, 0])
    split = kind("torch_dataset").open("train", {"object": part})
    assert split.labels.tolist() == [1, 0]
    assert same(split.load(0), 4)
    images = torch.stack([torch.from_numpy(np.array(picture(k))).permute(2, 0, 1) for k in (0, 1)])
    tensors = torch.utils.data.TensorDataset(images, torch.tensor([1, 0]))
    split = kind("torch_dataset").open("train", {"object": tensors, "class_names": ["x", "y"]})
    assert split.labels.tolist() == [1, 0]
    assert same(split.load(1), 1)


def test_torch_dataset_refuses_held_out_and_changing_ones():
    from torchvision.transforms import v2

    factory = {"factory": f"{__name__}:held_out_squares"}
    assert refusal("torch_dataset", factory) == (
        "the dataset of torch_dataset says of itself that train is False: it is validation or test "
        f"data; {GUARDED}"
    )
    assert len(kind("torch_dataset").open_held_out(factory).labels) == 6
    nested = torch.utils.data.Subset(Squares(split="val"), [0, 1])
    assert NAMED in refusal("torch_dataset", {"object": nested})
    crop = Squares(transform=v2.RandomCrop(4))
    assert refusal("torch_dataset", {"object": crop}) == (
        "the dataset of torch_dataset gives another picture every time an item is asked for; "
        "remove random augmentation from its transform, so that every network is given the same "
        "images"
    )


def test_torch_dataset_says_that_tensors_were_normalised():
    from torchvision.transforms import v2

    steps = [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5] * 3, [0.1] * 3),
    ]
    split = kind("torch_dataset").open("train", {"object": Squares(transform=v2.Compose(steps))})
    with pytest.raises(DataError, match="as they were before normalisation"):
        draw_sample(split, 1, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            'torch_dataset needs the option factory, "package.module:function", or object, a '
            "dataset from Python; found None",
        ),
        (
            {"factory": "no_such_module:f"},
            "torch_dataset: factory 'no_such_module:f' cannot be imported: ModuleNotFoundError: No "
            "module named 'no_such_module'",
        ),
        (
            {"object": iter([1])},
            "the dataset of torch_dataset must have a length, len(dataset), and items, "
            "dataset[index]: (picture, label); found a list_iterator",
        ),
        ({"object": Squares(0)}, "the dataset of torch_dataset is empty"),
    ],
)
def test_torch_dataset_says_what_it_cannot_use(options, message):
    assert refusal("torch_dataset", options) == message


# torchvision and timm


def idx(array):
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path):
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 20), ("t10k", 10)):
        pixels = np.random.default_rng(n).integers(0, 256, (n, 28, 28))
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n) % 10))
    return tmp_path


def test_torchvision_reads_mnist_and_trains_on_its_training_part(mnist):
    options = {"dataset": "MNIST", "root": str(mnist)}
    split = check_dataset(kind("torchvision"), options, ["train"])
    assert len(split.labels) == 20
    assert split.class_names[3] == "3 - three"
    assert len(kind("torchvision").open("held_out", options).labels) == 10
    assert len(kind("torchvision").open_held_out(options).labels) == 10
    assert "has no splits to choose from" in refusal("torchvision", {**options, "split": "test"})


def test_torchvision_reads_datasets_with_splits_and_folders(tmp_path):
    for part in ("train", "test"):
        for label, name in enumerate(("airport", "barn")):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            picture(label + 7 * (part == "test")).save(folder / "1.png")
    options = {"dataset": "ImageFolder", "root": str(tmp_path / "images/train")}
    split = check_dataset(kind("torchvision"), options, ["train"])
    assert split.class_names == ("airport", "barn")
    assert split.sample_ids == ("airport/1.png", "barn/1.png")
    dtd = {"dataset": "DTD", "root": str(tmp_path), "split": "val"}
    assert NAMED in refusal("torchvision", dtd)
    assert refusal("torchvision", {**dtd, "split": "train"}) == (
        f"torchvision: DTD cannot be read from {tmp_path}: RuntimeError: Dataset not found. You "
        "can use download=True to download it; nothing is downloaded here"
    )


def test_torchvision_reads_fake_data_and_refuses_what_chooses_a_split(tmp_path):
    options = {"dataset": "FakeData", "root": str(tmp_path)}
    sizes = {"size": 12, "num_classes": 3, "image_size": [3, 8, 8]}
    split = check_dataset(kind("torchvision"), {**options, "args": sizes}, ["train"])
    assert len(split.labels) == 12
    for name in ("train", "download", "transform"):
        assert refusal("torchvision", {**options, "args": {name: True}}).startswith(
            f"torchvision: args.{name} is not for you to choose"
        )
    qmnist = {"dataset": "QMNIST", "root": str(tmp_path), "args": {"what": "train"}}
    assert "nothing is downloaded here" in refusal("torchvision", qmnist)
    qmnist["args"] = {"what": "test50k"}
    assert NAMED in refusal("torchvision", qmnist)
    assert refusal("torchvision", {**options, "dataset": "MNITS"}) == (
        "unknown dataset of torchvision: 'MNITS'; did you mean 'MNIST' or 'QMNIST' or 'KMNIST'?"
    )


@pytest.fixture
def splits(tmp_path):
    for part in ("train", "val"):
        for number in (1, 2, 10):
            folder = tmp_path / "data" / part / f"class{number}"
            folder.mkdir(parents=True)
            picture(number + 20 * (part == "val")).save(folder / "x.png")
    return tmp_path / "data"


def test_timm_opens_the_training_folder_in_its_own_order(splits):
    split = check_dataset(kind("timm"), {"root": str(splits)}, ["train", "held_out"][:1])
    assert split.class_names == ("class1", "class2", "class10")
    assert same(split.load(2), 10)
    held_out = kind("timm").open("held_out", {"root": str(splits)})
    assert same(held_out.load(0), 21)
    alone = kind("timm").open("train", {"root": str(splits / "train")})
    assert alone.class_names == split.class_names


def test_timm_refuses_the_three_ways_to_other_images(splits, mnist):
    root = {"root": str(splits)}
    for name in ("validation", "val", "trian", "train[:50%]", ""):
        assert refusal("timm", {**root, "split": name}) == (
            f"timm: split must be one of train, training; found {name!r}, for which timm's factory "
            "would open validation or test images, or all of the root"
        )
    (splits / "train").rename(splits / "images")
    assert refusal("timm", root) == (
        f"timm: the root {splits} has no folder 'train', and timm's factory would take the whole "
        "root in its place; give the folder of the split itself, or use image_folder"
    )
    torch_mnist = {"dataset": "torch/mnist", "root": str(mnist)}
    assert len(kind("timm").open("train", torch_mnist).labels) == 20
    assert len(kind("timm").open("held_out", torch_mnist).labels) == 10
    assert "split must be one of" in refusal("timm", {**torch_mnist, "split": "tarin"})


def test_timm_sends_other_forms_to_their_own_kind(splits):
    root = {"root": str(splits)}
    assert refusal("timm", {**root, "dataset": "wds/x"}) == (
        "timm: 'wds/x' is read by the dataset 'webdataset'; name that"
    )
    assert refusal("timm", {**root, "dataset": "tfds/x"}) == (
        "timm: 'tfds/x' cannot be read here; folders and torch/… can"
    )
    assert refusal("timm", {**root, "args": {"is_training": False}}) == (
        "timm: args.is_training is not for you to choose; see the options of timm"
    )


OWN_SPLITS = {"digits", "glyphs", "patches", "shapes", "sounds", "textures"}


@pytest.mark.parametrize("name", sorted(set(REGISTRY.datasets) - OWN_SPLITS))
def test_kinds_without_a_held_out_split_say_where_held_out_images_go(name, tmp_path):
    if name in ("timm", "torchvision"):
        pytest.skip("has a held-out split")
    assert "[held_out]" in refusal(name, {}, "held_out")
