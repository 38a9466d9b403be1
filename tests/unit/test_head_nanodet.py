import itertools

import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import nanodet

# 64 x 64: 64, 16 and 4 cells.
OPTIONS = nanodet.Options(input_hw=(64, 64), confidence=0.5)
CELLS = (64, 16, 4)


def tensors(classes=3, bins=8, batch=True):
    """Class maps and distances of three levels; all distances are the middle of the bins."""
    maps = [np.zeros((n, classes), np.float32) for n in CELLS]
    sides = [np.zeros((n, 4 * bins), np.float32) for n in CELLS]
    maps[0][8 * 2 + 5, 1] = 0.9  # column 5, row 2: centre (44, 20)
    # One bin far above the others: 1, 2, 0 and 1 strides from the centre.
    for side, distance in enumerate((1, 2, 0, 1)):
        sides[0][8 * 2 + 5, side * bins + distance] = 100
    maps[2][0, 2] = 0.6  # column 0, row 0 of stride 32: centre (16, 16)
    everything = {f"cls{i}": m for i, m in enumerate(maps)} | {
        f"box{i}": s for i, s in enumerate(sides)
    }
    return {k: v[None] if batch else v for k, v in everything.items()}


def check(found):
    # The second box reaches 3.5 strides of 32 each way, cut at the input.
    np.testing.assert_allclose(found.xyxy, [[36, 4, 44, 28], [0, 0, 64, 64]], atol=1e-4)
    np.testing.assert_allclose(found.score, [0.9, 0.6])
    assert found.class_id.tolist() == [1, 2]


@pytest.mark.parametrize("batch", [True, False])
def test_golden(batch):
    check(nanodet.decode(tensors(batch=batch), OPTIONS))


def test_any_order_and_any_names_give_the_same():
    arrays = list(tensors().values())
    for order in itertools.permutations(range(6)):
        outputs = {f"output{i}": arrays[at] for i, at in enumerate(order)}
        check(nanodet.decode(outputs, OPTIONS))


def test_eight_bins_are_taken_before_other_widths():
    # 80 classes could be 20 bins as well; 8 bins are what every published file has.
    arrays = list(tensors(classes=80).values())
    check(nanodet.decode({str(i): a for i, a in enumerate(arrays)}, OPTIONS))
    check(nanodet.decode({str(i): a for i, a in enumerate(arrays[::-1])}, OPTIONS))


def test_as_many_classes_as_four_sides_have_bins():
    # Nothing but the order tells 32 classes from 4 x 8 bins.
    check(nanodet.decode(tensors(classes=32), OPTIONS))


def test_the_number_of_classes_tells_the_maps_from_the_distances():
    outputs = tensors(classes=64, bins=12)
    reverse = dict(reversed(outputs.items()))
    options = nanodet.Options(input_hw=(64, 64), confidence=0.5, num_classes=64)
    found = nanodet.decode(reverse, options)
    np.testing.assert_allclose(found.xyxy[0], [36, 4, 44, 28], atol=1e-4)


def test_sixteen_bins():
    found = nanodet.decode(tensors(bins=16), OPTIONS)
    np.testing.assert_allclose(found.xyxy[0], [36, 4, 44, 28], atol=1e-4)


def test_multi_label_counts_every_class():
    outputs = tensors()
    outputs["cls0"][0, 8 * 2 + 5, 0] = 0.7
    options = nanodet.Options(input_hw=(64, 64), confidence=0.5, multi_label=True)
    assert nanodet.decode(outputs, options).class_id.tolist() == [1, 0, 2]
    assert nanodet.decode(outputs, OPTIONS).class_id.tolist() == [1, 2]


def test_nothing_found():
    found = nanodet.decode({k: v * 0 for k, v in tensors().items()}, OPTIONS)
    assert len(found) == 0
    assert found.xyxy.shape == (0, 4)


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_is_dropped_and_counted():
    outputs = tensors()
    outputs["cls0"][0, 3, 0] = np.nan
    outputs["cls1"][0, 3, 0] = np.inf
    outputs["box0"][0, 8 * 2 + 5, 4] = np.inf
    outputs["box2"][0, 0, 4] = np.nan
    found = nanodet.decode(outputs, OPTIONS)
    assert len(found) == 0
    assert found.dropped == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda o: o.pop("box2"),
        lambda o: o.update(box2=np.zeros((1, 5, 32), np.float32)),
        lambda o: o.update(box2=np.zeros((1, 4, 30), np.float32)),
        lambda o: o.update(box2=np.zeros((1, 1, 4, 32), np.float32)),
        lambda o: o.update(box2=o["cls2"]),
    ],
)
def test_wrong_shapes(change):
    outputs = tensors()
    change(outputs)
    with pytest.raises(HeadError, match=r"expected \[1, 64, classes\] and \[1, 64, 4 \* bins\]"):
        nanodet.decode(outputs, OPTIONS)


def test_wrong_number_of_classes():
    with pytest.raises(HeadError, match=r"\[1, 64, 80\]"):
        nanodet.decode(tensors(), nanodet.Options(input_hw=(64, 64), num_classes=80))


def test_another_input_size_does_not_fit():
    with pytest.raises(HeadError, match=r"got cls0 \[1, 64, 3\]"):
        nanodet.decode(tensors(), nanodet.Options(input_hw=(96, 96)))


def plus(classes=3, levels=(64, 16, 4, 1)):
    """Return one tensor of NanoDet-Plus for an input of 64 x 64."""
    table = np.zeros((1, sum(levels), classes + 32), np.float32)
    cell = 8 * 2 + 5  # column 5, row 2: corner (40, 16), centre (44, 20)
    table[0, cell, 1] = 0.9
    for side, distance in enumerate((1, 2, 0, 1)):
        table[0, cell, classes + side * 8 + distance] = 100
    return table


def test_golden_plus_counts_from_the_corner():
    found = nanodet.decode({"output": plus()}, OPTIONS)
    np.testing.assert_allclose(found.xyxy, [[32, 0, 40, 24]], atol=1e-4)
    np.testing.assert_allclose(found.score, [0.9])
    assert found.class_id.tolist() == [1]
    moved = nanodet.decode({"output": plus()}, OPTIONS.replace(offset=0.5))
    np.testing.assert_allclose(moved.xyxy, [[36, 4, 44, 28]], atol=1e-4)


def test_golden_three_levels_in_one_tensor_count_from_the_centre():
    found = nanodet.decode({"output": plus(levels=CELLS)}, OPTIONS)
    np.testing.assert_allclose(found.xyxy, [[36, 4, 44, 28]], atol=1e-4)


def test_one_tensor_of_nothing():
    found = nanodet.decode({"output": plus() * 0}, OPTIONS)
    assert found.xyxy.shape == (0, 4)


def test_one_tensor_of_another_shape():
    for table in (plus()[:, :-2], plus()[..., :32], np.zeros((2, 85, 35), np.float32)):
        with pytest.raises(HeadError, match=r"expected \[1, \d+, classes \+ 32\]"):
            nanodet.decode({"output": table}, OPTIONS)
    with pytest.raises(HeadError, match=r"expected \[1, 85, 80 \+ 32\]"):
        nanodet.decode({"output": plus()}, OPTIONS.replace(num_classes=80))
    with pytest.raises(HeadError, match="offset: expected 0 to 1"):
        nanodet.decode({"output": plus()}, OPTIONS.replace(offset=4.0))
