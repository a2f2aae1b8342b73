"""Files and folders that hold no weights are named as what they are."""

import pytest
import safetensors.torch
import torch
from torch import nn

from audit.errors import CheckpointError
from audit.network.weights import read_weights

REMEDY = "save it again with safetensors.torch.save_file(model.state_dict(), path)"
INSTEAD = "give the file that holds the network's weights"
CONVERT = (
    "which is not read; convert it to PyTorch and save it with "
    "safetensors.torch.save_file(model.state_dict(), path)"
)
ADAPTER = (
    "is a LoRA adapter (PEFT), which changes a network and is none; merge it into its network "
    "(merge_and_unload) and save that network's weights"
)


def optimizer():
    return torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1, momentum=0.9)


FILES = {
    "lfs.pth": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12\n",
        "is a Git-LFS pointer of 65 bytes, not the file it points to; run `git lfs pull` in its "
        "repository",
    ),
    "annex.pth": (
        b"/annex/objects/SHA256E-s3--0a.pth\n",
        "is a git-annex pointer of 34 bytes, not the file it points to; run `git annex get` in its "
        "repository",
    ),
    "page.pth": (
        b"\n<!DOCTYPE html>\n<html>404</html>",
        "is a web page, such as a server sends where a download fails; download the file again, "
        "and sign in where that is needed",
    ),
    "config.pth": (b'{"architecture": "x"}', f"is JSON, such as a configuration; {INSTEAD}"),
    "w.gguf": (b"GGUF\3\0\0\0", f"is a GGUF file (llama.cpp), which is refused: {REMEDY}"),
    "w.tflite": (b"\x1c\0\0\0TFL3", f"is a TensorFlow Lite model, which is refused: {REMEDY}"),
    "w.onnx": (b"\x08\x07\x12\x07pytorch", f"is an ONNX graph, {CONVERT}"),
    "renamed.pth": (b"\x08\x07\x12\x07pytorch", f"is an ONNX graph, {CONVERT}"),
    "flax_model.msgpack": (b"\x81\xa6params", f"is a Flax checkpoint, {CONVERT}"),
    "m.ckpt.data-00000-of-00001": (b"\0\0\0\0", f"is a TensorFlow checkpoint, {CONVERT}"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_weights_are_named(tmp_path, name):
    content, said = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == f"checkpoint {path} {said}"


STATES = {
    "optimizer.pt": (lambda: optimizer().state_dict(), "the state of an optimizer"),
    "scheduler.pt": (
        lambda: torch.optim.lr_scheduler.StepLR(optimizer(), 1).state_dict(),
        "the state of a learning rate scheduler",
    ),
    "scaler.pt": (
        lambda: torch.amp.GradScaler("cpu").state_dict(),
        "the state of a gradient scaler",
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_states_of_a_training_run_are_named(tmp_path, name):
    build, what = STATES[name]
    path = tmp_path / name
    torch.save(build(), path)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == f"checkpoint {path} is {what}; {INSTEAD}"


@pytest.mark.parametrize(
    "name", ["base.lora_A.weight", "unet.lora_down.weight", "x.lora_B.default"]
)
def test_adapters_are_named(tmp_path, name):
    path = tmp_path / "adapter_model.safetensors"
    safetensors.torch.save_file({name: torch.ones(2, 2)}, path)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == f"checkpoint {path} {ADAPTER}"


def distributed(folder):
    return (
        f"checkpoint {folder} is a distributed checkpoint (DCP), which is pickled and refused; "
        "make a file of it with torch.distributed.checkpoint.format_utils.dcp_to_torch_save"
        f"({str(folder)!r}, 'weights.pth')"
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_distributed_checkpoints_are_named(tmp_path):
    import torch.distributed.checkpoint as dcp

    folder = tmp_path / "run"
    dcp.save({"a": torch.ones(2)}, checkpoint_id=str(folder), no_dist=True)
    for path in (folder, folder / "__0_0.distcp"):
        with pytest.raises(CheckpointError) as caught:
            read_weights(path)
        assert str(caught.value) == distributed(folder)


FOLDERS = {
    "adapter_config.json": ADAPTER,
    "saved_model.pb": f"is a TensorFlow SavedModel, {CONVERT}",
    "_METADATA": f"is a Flax checkpoint (Orbax), {CONVERT}",
    "data.pkl": "is an unpacked torch.save archive; give the file it came from",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_other_formats_are_named(tmp_path, name):
    (tmp_path / name).touch()
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path)
    assert str(caught.value) == f"checkpoint {tmp_path} {FOLDERS[name]}"


def test_a_folder_with_several_checkpoints_is_not_one(tmp_path):
    for name in ("a.pt", "b.pt"):
        torch.save({"a": torch.ones(1)}, tmp_path / name)
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path)
    assert str(caught.value) == (
        f"checkpoint {tmp_path} is a folder with 2 checkpoints: a.pt, b.pt; name one"
    )
