"""Changed weights: their digest, their files, and their change as a product of two thin matrices."""

import pytest
import torch

from harness.models.layouts import lowrank
from harness.models.weights import fingerprint
from harness.runs import files


def test_the_factors_are_the_best_of_their_rank_and_the_error_is_theirs():
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 5)
    frozen = {"layer.weight": torch.randn(5, 6)}
    trained = {"layer.weight": torch.randn(5, 6)}
    found = lowrank.factors(frozen, trained, 1.0, 2, {"layer": layer})
    lost = lowrank.left_out(frozen, trained, lowrank.adapted(frozen, found))
    product = found["layer.lora_B.weight"] @ found["layer.lora_A.weight"]
    change = trained["layer.weight"] - frozen["layer.weight"]
    values = torch.linalg.eigvalsh(change @ change.T).flip(0)  # squared singular values, by another route
    assert lost == pytest.approx(((values[2:].sum() / values.sum()) ** 0.5).item(), rel=1e-4)
    assert lost == pytest.approx(((change - product).norm() / change.norm()).item(), rel=1e-4)


def test_the_fingerprint_knows_names_types_shapes_and_every_bit():
    tensors = {"a": torch.zeros(2, 2), "b": torch.ones(3)}
    same = fingerprint(dict(reversed(tensors.items())))
    assert fingerprint(tensors) == same
    changed = [
        {**tensors, "a": torch.zeros(4)},
        {**tensors, "a": -torch.zeros(2, 2)},
        {**tensors, "a": torch.zeros(2, 2, dtype=torch.int32)},
        {"c": tensors["a"], "b": tensors["b"]},
    ]
    assert len({same, *(fingerprint(each) for each in changed)}) == 5


def test_equal_weights_give_equal_files(tmp_path):
    metadata = {"b": 'quote " and \\ and \n', "a": "Zoë \u2603 \x1f", "c": "", "format": "pt"}
    tensors = {"x": torch.arange(6.0).view(2, 3).T, "y": torch.zeros(2, dtype=torch.bfloat16)}
    paths = [tmp_path / str(i) for i in range(8)]
    for path in paths:
        files.save_tensors(tensors, path, metadata)
        kept, said = files.load_tensors(path)
        assert said == metadata
        assert all(torch.equal(kept[name], each) for name, each in tensors.items())
    assert len({path.read_bytes() for path in paths}) == 1
