"""Training sets through the whole command: what is passed over, copied and left out is said."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import audit
from audit.data.pixels import NARROW, PALETTE
from audit.runs.config import RunOptions


def narrow(path):
    with Image.open(path) as image:
        Image.fromarray(np.asarray(image).astype(np.uint16)).save(path)


def test_the_training_set_is_described_in_the_record_the_page_and_the_plan(
    user, genaudit, monkeypatch
):
    pytest.importorskip("imagehash", reason="held-out images are compared with it")
    monkeypatch.chdir(user)
    train = user / "data/train"
    narrow(train / "class 0/00.png")
    with Image.open(train / "class 1/00.png") as image:
        image.convert("P").save(train / "class 1/00.png")
    (train / "class 2/notes.txt").touch()
    (train / "class 2/up").symlink_to(train)
    config = (
        (user / "audit.toml").read_text().replace("images_per_class = 8", "images_per_class = 0")
    )
    (user / "audit.toml").write_text(config + 'images = "data/val"\n')
    shutil.copytree(train / "class 0", user / "data/val/class 0")
    plan = genaudit("validate", "audit.toml")
    assert "training set   image_folder: 36 of 36 images, 3 of 3 classes" in plan.out
    assert "  passed over  1 × .txt; 1 × link to a folder above" in plan.out
    assert f"  odd pixels   1 × {NARROW}; 1 × {PALETTE}" in plan.out
    copies = (
        "held-out copies  12 exact (33.3%) and 0 near (0.0%) of 36 training images are among 12"
    )
    assert copies in plan.out
    done = genaudit("run", "audit.toml", "-o", "out")
    assert done.code == 0
    assert copies in done.out
    record = json.loads((user / "out/run.json").read_text())
    assert record["dataset"]["skipped"] == {".txt": 1, "link to a folder above": 1}
    assert record["dataset"]["oddities"] == {NARROW: 1, PALETTE: 1}
    assert record["dataset"]["images_of_class"] == {f"class {k}": 12 for k in range(3)}
    assert record["overlap"]["n_exact"] == 12
    assert record["overlap"]["exact"][0][1].startswith("val/class 0/")
    page = (user / "out/report.html").read_text()
    assert "1 × .txt; 1 × link to a folder above" in page
    assert "Training images that are also held out" in page


def squares():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (30, 3, 32, 32), np.uint8))
    return torch.utils.data.TensorDataset(images, torch.arange(30) % 10)


@pytest.fixture
def network(tmp_path):
    import timm

    from audit.network.saving import write_weights

    torch.manual_seed(0)
    built = timm.create_model("test_resnet", num_classes=10)
    write_weights(built, tmp_path / "one.safetensors")
    return built


def test_unit_table_takes_objects_and_leaves_classes_out(network):
    sets = squares(), tuple(squares().tensors)
    size = {"input_size": [3, 32, 32]}
    tables = [
        audit.unit_table(network, one, images_per_class=2, transform=size, max_classes=4)
        for one in sets
    ]
    assert tables[0]["class_name"].nunique() == 4
    assert set(tables[0]["n_images"]) == {2}
    pd.testing.assert_frame_equal(*tables)


def test_run_takes_a_dataset_of_torch_and_a_part_of_its_classes(network, tmp_path):
    config = {
        "dataset": squares(),
        "checkpoints": [
            {
                "model": "test_resnet",
                "weights": str(tmp_path / "one.safetensors"),
                "model_args": {"num_classes": 10},
            }
        ],
        "measures": {"include": ["train_accuracy"], "max_classes": 6},
    }
    options = RunOptions(
        output=tmp_path / "out", cache=tmp_path / "cache", workers=0, progress=False
    )
    result = audit.run(config, options=options)
    assert result.failed == {}
    said = result.run["dataset"]
    assert said["options"] == {"object": "a TensorDataset in memory"}
    assert len(said["class_names"]) == 10
    assert len(said["images_of_class"]) == 6


def test_an_object_that_no_dataset_reads_is_refused():
    with pytest.raises(audit.AuditError) as caught:
        audit.run({"dataset": object(), "checkpoints": []})
    assert str(caught.value) == (
        "no dataset reads an object of type object; give a table with the key 'name', or an object "
        "that one reads (`genaudit plugins` lists every dataset)"
    )
