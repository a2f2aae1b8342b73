"""Digests of weights, in files and in memory."""

import copy

import pytest
import torch
from torch import nn

from audit.errors import CheckpointError
from audit.network.digests import files_digest, state_digest

DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.complex64, torch.complex128, torch.float8_e4m3fn),
]


@pytest.fixture
def files(tmp_path):
    for folder, name, content in [("x", "a.pt", b"1"), ("x", "b.pt", b"2"), ("y", "a.pt", b"3")]:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_bytes(content)
    return [tmp_path / "x" / "a.pt", tmp_path / "x" / "b.pt", tmp_path / "y" / "a.pt"]


def test_files_digest_is_of_names_and_content(files):
    before = files_digest(files)
    assert files_digest(reversed(files)) == before
    assert files_digest([*files, *files]) == before
    assert files_digest(files[:2]) != before
    renamed = files[1].rename(files[1].with_name("c.pt"))
    assert files_digest([files[0], renamed, files[2]]) != before


def test_files_digest_changes_with_a_byte(files):
    before = files_digest(files)
    files[1].write_bytes(b"4")
    assert files_digest(files) != before


def test_files_digest_tells_files_of_one_name_apart(files):
    before = files_digest(files)
    files[0].write_bytes(b"3")
    files[2].write_bytes(b"1")
    assert files_digest(files) != before


def test_files_digest_ignores_where_the_folder_lies(files, tmp_path):
    before = files_digest(files[:2])
    moved = (tmp_path / "x").rename(tmp_path / "z")
    assert files_digest([moved / "a.pt", moved / "b.pt"]) == before


def test_files_digest_names_the_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "no.pt"
    with pytest.raises(CheckpointError) as caught:
        files_digest([path])
    assert str(caught.value) == (
        f"checkpoint {path} cannot be read: [Errno 2] No such file or directory: '{path}'"
    )


class Holder(nn.Module):
    """A network of buffers, kept in its state dict or not."""

    def __init__(self, persistent=True, **tensors):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=persistent)


def digest(tensor):
    return state_digest(Holder(a=tensor))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_state_digest_changes_with_every_element_of_any_type(dtype):
    tensor = torch.arange(6).reshape(2, 3).bool().to(torch.float32).to(dtype)
    digests = {digest(tensor)}
    assert digest(tensor.clone()) in digests
    for position in range(6):
        other = tensor.clone()
        other.view(-1)[position] = 0 if bool(tensor.to(torch.complex64).view(-1)[position]) else 1
        digests.add(digest(other))
    assert len(digests) == 7


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_state_digest_takes_scalars_and_nothing(dtype):
    shapes = [(), (1,), (0,), (0, 3), (1, 1)]
    assert len({digest(torch.zeros(shape, dtype=dtype)) for shape in shapes}) == len(shapes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64], ids=str)
def test_state_digest_ignores_the_layout_in_memory(dtype):
    tensor = torch.arange(24).reshape(2, 3, 2, 2).to(dtype)
    spread = torch.zeros(2, 3, 2, 4, dtype=dtype)[..., ::2]
    spread.copy_(tensor)
    last = tensor.contiguous(memory_format=torch.channels_last)
    turned = tensor.transpose(0, 1).contiguous().transpose(0, 1)
    assert {digest(t) for t in (spread, last, turned)} == {digest(tensor)}
    assert digest(tensor.transpose(0, 1)) != digest(tensor)


def test_state_digest_resolves_lazy_conjugates():
    tensor = torch.tensor([1 + 2j, 3 - 4j])
    assert digest(tensor.conj()) == digest(torch.tensor([1 - 2j, 3 + 4j]))
    assert digest(tensor.conj().imag) == digest(torch.tensor([-2.0, 4.0]))


def test_state_digest_tells_types_shapes_and_signs_of_zero_apart():
    zero = torch.zeros(4)
    others = [-zero, zero.int(), zero.reshape(2, 2), torch.full((4,), torch.nan)]
    assert len({digest(t) for t in (zero, *others)}) == 5


def test_state_digest_is_of_names_in_any_order():
    one, two = torch.ones(2), torch.zeros(2)
    assert state_digest(Holder(a=one, b=two)) == state_digest(Holder(b=two, a=one))
    assert state_digest(Holder(a=one, b=two)) != state_digest(Holder(a=two, b=one))
    assert state_digest(Holder(a=one)) != state_digest(Holder(c=one))


def test_state_digest_covers_buffers_that_the_state_dict_leaves_out():
    first, second = (Holder(persistent=False, a=torch.full((2,), n)) for n in (1.0, 2.0))
    assert first.state_dict() == {}
    assert state_digest(first) != state_digest(second)


def test_state_digest_covers_tied_weights_and_changes_with_one_bit():
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    network[2].weight = network[0].weight
    twin = copy.deepcopy(network)
    assert state_digest(twin) == state_digest(network.eval().requires_grad_(False))
    with torch.no_grad():
        twin[2].weight[0, 0] = torch.nextafter(twin[2].weight[0, 0], torch.tensor(9.0))
    assert state_digest(twin) != state_digest(network)


class Extra(nn.Module):
    def get_extra_state(self):
        return {"calls": 3}


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (Extra(), "the weights of Extra must be dense tensors to be digested; _extra_state is a "
                  "dict"),
        (Holder(a=torch.zeros(2, device="meta")), "the weights of Holder must be dense tensors to "
         "be digested; a is a tensor on the device 'meta', which holds no numbers"),
        (Holder(a=torch.eye(2).to_sparse()), "the weights of Holder must be dense tensors to be "
         "digested; a is a tensor of layout torch.sparse_coo"),
    ],
)  # fmt: skip
def test_state_digest_refuses_what_has_no_plain_bytes(module, found):
    with pytest.raises(CheckpointError) as caught:
        state_digest(module)
    assert str(caught.value) == found
