"""The class scores in what a network returns."""

import collections
import dataclasses

import pytest
import torch

from audit.errors import CheckpointError
from audit.network.scores import class_scores

SCORES, OTHER = torch.ones(2, 3), torch.zeros(2, 8)
Outputs = collections.namedtuple("Outputs", ["logits", "aux_logits"])


@dataclasses.dataclass
class Output:
    loss: object
    logits: object


class ModelOutput(collections.OrderedDict):
    """As transformers returns: a mapping whose entries are attributes too."""

    def __getattr__(self, name):
        if name in self:
            return self[name]
        raise AttributeError(name)


@pytest.mark.parametrize(
    "output",
    [
        SCORES,
        (SCORES, OTHER),
        [SCORES, OTHER],
        {"logits": SCORES, "features": OTHER},
        {"aux": OTHER, "out": SCORES},
        {"anything": SCORES},
        {"out": [SCORES, OTHER]},
        Outputs(SCORES, OTHER),
        Output(OTHER, SCORES),
        Output(OTHER, (SCORES,)),
        ModelOutput(hidden_states=OTHER, logits=SCORES),
    ],
)
def test_class_scores_are_found_in_what_networks_return(output):
    assert class_scores(output) is SCORES


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (None, "NoneType"),
        ([], "list"),
        ({"mask": OTHER, "box": OTHER}, "dict with mask, box"),
        ({"logits": None, "box": OTHER}, "dict with logits, box"),
        (Output(OTHER, None), "Output"),
    ],
)
def test_outputs_without_class_scores_are_refused(output, said):
    with pytest.raises(CheckpointError) as caught:
        class_scores(output)
    assert str(caught.value) == (
        f"the network returns {said}, not class scores; needed is a tensor, alone, first in a "
        "tuple, or under one of the names logits, out, output, scores, pred, cls"
    )
