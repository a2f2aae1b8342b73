"""The count of multiply–accumulates is the formula's, whichever kernels torch would choose."""

import types

import pytest
import torch
from torch import nn
from torch.backends import mha, opt_einsum
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from audit.conformance import ArrayView
from audit_measures import _macs, size

TOKENS, WIDTH, HEADS, HIDDEN = 6, 8, 2, 12

#: Of self-attention with its four projections, and of an encoder layer around it.
MULTI_HEAD = 4 * TOKENS * WIDTH * WIDTH + 2 * TOKENS * TOKENS * WIDTH
ENCODER_LAYER = MULTI_HEAD + 2 * TOKENS * WIDTH * HIDDEN

KERNELS = [kernel for kernel in SDPBackend.__members__.values() if kernel != SDPBackend.ERROR]


def count(network):
    """The measure of a network whose images are `TOKENS` rows of `WIDTH` pixels."""
    return size.macs(ArrayView(network, torch.rand(2, 1, TOKENS, WIDTH), [0, 1]))


@pytest.fixture(params=[True, False])
def mkldnn(request):
    """Both with the kernels of oneDNN, where this torch has them, and without."""
    before, *_ = torch.backends.mkldnn.set_flags(request.param)
    yield
    torch.backends.mkldnn.set_flags(before)


@pytest.fixture(params=[True, False])
def fast_path(request):
    """Both with the fast path of multi-head attention allowed and without."""
    mha.set_fastpath_enabled(request.param)
    yield
    mha.set_fastpath_enabled(True)


class OfTokens(nn.Module):
    """A network that gives its rows, shape (1, TOKENS, WIDTH), to a function and its modules."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(modules)

    def forward(self, images):
        return self.function(images[:, 0], *self.parts)


def heads(tokens):
    return tokens.unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)


def attend(tokens):
    return scaled_dot_product_attention(heads(tokens), heads(tokens), heads(tokens))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "attention",
    [
        scaled_dot_product_attention,
        torch.ops.aten.scaled_dot_product_attention,
        torch.ops.aten.scaled_dot_product_attention.default,
    ],
)
def test_macs_of_attention_do_not_depend_on_the_kernel(kernel, attention):
    def choose(tokens):
        with sdpa_kernel(kernel):
            return attention(heads(tokens), heads(tokens), heads(tokens))

    by_hand = 2 * TOKENS * TOKENS * WIDTH
    assert count(OfTokens(choose)) == by_hand
    with sdpa_kernel(kernel):
        assert count(OfTokens(attend)) == by_hand


def test_macs_of_attention_with_other_keys_values_masks_and_shared_heads():
    def other(tokens):
        query, key = heads(tokens), heads(tokens)[:, :, :4]
        value = torch.ones(1, HEADS, 4, 3)
        return scaled_dot_product_attention(query, key, value)

    def masked(tokens):
        return scaled_dot_product_attention(*[heads(tokens)] * 3, is_causal=True)

    def shared(tokens):
        one = heads(tokens)[:, :1]
        return scaled_dot_product_attention(heads(tokens), one, one, enable_gqa=True)

    assert count(OfTokens(other)) == HEADS * TOKENS * 4 * (WIDTH // HEADS + 3)
    assert count(OfTokens(masked)) == 2 * TOKENS * TOKENS * WIDTH
    assert count(OfTokens(shared)) == 2 * TOKENS * TOKENS * WIDTH


@pytest.mark.parametrize("name", [name for name in _macs._FORMULAS if name.endswith("for_cpu")])
def test_macs_of_a_fused_operation_that_a_network_calls_itself(name):
    operation = getattr(torch.ops.aten, name)
    by_hand = 2 * TOKENS * TOKENS * WIDTH
    assert count(OfTokens(lambda tokens: operation(*[heads(tokens)] * 3)[0])) == by_hand


@pytest.mark.usefixtures("fast_path")
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("inside", [True, False, None])
def test_macs_of_multi_head_attention_do_not_depend_on_its_fast_path(weights, inside):
    def forward(tokens, layer):
        if inside is not None:
            mha.set_fastpath_enabled(inside)
        return layer(tokens, tokens, tokens, need_weights=weights)[0]

    layer = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    assert count(OfTokens(forward, layer)) == MULTI_HEAD


@pytest.mark.usefixtures("fast_path")
def test_macs_of_an_encoder_layer_do_not_depend_on_its_fast_path():
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, batch_first=True)
    assert count(OfTokens(lambda tokens, layer: layer(tokens), layer)) == ENCODER_LAYER


def test_macs_of_the_fast_paths_that_a_network_calls_itself():
    def native(tokens, layer):
        attention = layer.self_attn
        return torch._native_multi_head_attention(
            tokens,
            tokens,
            tokens,
            WIDTH,
            HEADS,
            attention.in_proj_weight,
            attention.in_proj_bias,
            attention.out_proj.weight,
            attention.out_proj.bias,
        )[0]

    def whole(tokens, layer):
        attention, first, second = layer.self_attn, layer.linear1, layer.linear2
        return torch._transformer_encoder_layer_fwd(
            tokens,
            WIDTH,
            HEADS,
            attention.in_proj_weight,
            attention.in_proj_bias,
            attention.out_proj.weight,
            attention.out_proj.bias,
            False,
            False,
            1e-5,
            layer.norm1.weight,
            layer.norm1.bias,
            layer.norm2.weight,
            layer.norm2.bias,
            first.weight,
            first.bias,
            second.weight,
            second.bias,
        )

    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, batch_first=True)
    assert count(OfTokens(native, layer)) == MULTI_HEAD
    assert count(OfTokens(whole, layer)) == ENCODER_LAYER


@pytest.mark.usefixtures("mkldnn")
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_macs_of_recurrent_layers_by_hand(kind, gates):
    layers = kind(WIDTH, HIDDEN, num_layers=2, bidirectional=True, batch_first=True)
    by_hand = 2 * TOKENS * gates * HIDDEN * (WIDTH + HIDDEN)
    by_hand += 2 * TOKENS * gates * HIDDEN * (2 * HIDDEN + HIDDEN)
    assert count(OfTokens(lambda tokens, layers: layers(tokens)[0], layers)) == by_hand
    shapes = [tuple(weight.shape) for weight in layers.parameters()]
    assert _macs._recurrent_layers((TOKENS, 1, WIDTH), shapes) == 2 * by_hand


def test_macs_of_products_with_vectors_by_hand():
    def products(tokens):
        rows, vector = tokens[0], tokens[0, 0]
        column = torch.mv(rows, vector)
        column = torch.addmv(column, rows, vector)
        return column.sum() * torch.dot(vector, vector) * torch.vdot(vector, vector)

    def summed(tokens):
        return torch.addbmm(torch.zeros(TOKENS, TOKENS), tokens, tokens.transpose(1, 2))

    assert count(OfTokens(products)) == 2 * TOKENS * WIDTH + 2 * WIDTH
    assert count(OfTokens(summed)) == TOKENS * WIDTH * TOKENS


def test_macs_of_a_product_of_three_do_not_depend_on_what_is_installed(monkeypatch):
    """A package that orders factors, where it is installed, is not asked while counting."""

    def three(tokens):
        return torch.einsum("ij,jk,kl->il", tokens[0], tokens[0].T, tokens[0])

    from_the_right = types.SimpleNamespace(contract_path=lambda *_, **__: ([(1, 2), (0, 1)], None))
    by_hand = 2 * TOKENS * WIDTH * TOKENS
    assert count(OfTokens(three)) == by_hand
    monkeypatch.setattr(opt_einsum.m, "is_available", lambda: True)
    monkeypatch.setattr(opt_einsum.m, "_opt_einsum", from_the_right)
    monkeypatch.setattr(opt_einsum.m, "enabled", True)
    monkeypatch.setattr(opt_einsum.m, "strategy", "auto")
    assert count(OfTokens(three)) == by_hand
    assert opt_einsum.enabled


def test_macs_of_a_small_vision_transformer_by_hand():
    import timm

    network = timm.create_model("test_vit", num_classes=5)
    width = network.embed_dim
    tokens = network.patch_embed.num_patches + network.num_prefix_tokens
    block = network.blocks[0]
    hidden = block.mlp.fc1.out_features
    heads = block.attn.num_heads * block.attn.head_dim
    attention = tokens * width * 3 * heads + 2 * tokens * tokens * heads + tokens * heads * width
    by_hand = network.patch_embed.num_patches * network.patch_embed.proj.weight.numel()
    by_hand += len(network.blocks) * (attention + 2 * tokens * width * hidden) + width * 5
    image = torch.rand(1, 3, *network.patch_embed.img_size)
    for kernel in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        with sdpa_kernel(kernel):
            assert size.macs(ArrayView(network, image, [0])) == by_hand


@pytest.mark.usefixtures("mkldnn")
def test_macs_of_a_network_of_recurrent_layers_do_not_depend_on_mkldnn():
    from timm.models.sequencer import Sequencer2d

    network = Sequencer2d(
        num_classes=3,
        img_size=32,
        layers=(1, 1),
        patch_sizes=(8, 2),
        embed_dims=(8, 8),
        hidden_sizes=(4, 4),
        mlp_ratios=(2.0, 2.0),
    )
    stem, downsample, head = 16 * 8 * (3 * 64), 4 * 8 * (8 * 4), 8 * 3
    recurrent = 2 * 2 * (4 * 4 * (8 + 4))  # over rows and columns, forward and back; four gates
    block = recurrent + 16 * 8 + 2 * 8 * 16
    by_hand = stem + 16 * block + downsample + 4 * block + head
    assert size.macs(ArrayView(network, torch.rand(1, 3, 32, 32), [0])) == by_hand


class Failing(nn.Module):
    def forward(self, images):
        raise ValueError("cannot go on")


def switches():
    return (
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
        torch.backends.cuda.cudnn_sdp_enabled(),
        mha.get_fastpath_enabled(),
        opt_einsum.enabled,
        torch.backends.mkldnn.enabled,
        torch.is_grad_enabled(),
    )


@pytest.mark.usefixtures("fast_path")
def test_macs_leaves_torch_as_it_was():
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION]):
        before = switches()
        count(OfTokens(lambda tokens: tokens @ tokens.transpose(1, 2)))
        assert switches() == before
        with pytest.raises(ValueError, match=r"^cannot go on$"):
            count(Failing())
        assert switches() == before
