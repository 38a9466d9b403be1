"""What a float pose model finds stands for truth when its reduced files are judged."""

from __future__ import annotations

import numpy as np
import pytest

import edgecv
from edgecv.converters.agreement import agreement, pseudo_truth
from edgecv.errors import DatasetError
from edgecv.truth import PoseTruth
from tests import models

ROW = [10, 10, 50, 40, 0.9, 0, 20, 20, 0.9, 30, 30, 0.1]


def pose_model(folder, name, *rows):
    values = [v for row in rows for v in row]
    output = models.tensor("y", [1, len(rows), 12], values=values)
    path = models.null_model(folder / f"{name}.null.json", [output])
    hints = edgecv.Hints(head="yolo_pose", head_options={"kpt_shape": [2, 3]}, labels=("one",))
    return edgecv.load(path, hints=hints, trusted=True)


def test_poses_are_judged_by_poses(tmp_path):
    photo = models.write_image(tmp_path / "a.png", 0, (64, 96))
    with pose_model(tmp_path, "float", ROW) as source:
        truth = pseudo_truth(source, [photo])
        assert isinstance(truth.samples[0].truth, PoseTruth)
        assert truth.samples[0].truth.keypoints[0, :, 2].tolist() == [2, 0]
        assert agreement(source, truth) == pytest.approx(1)
    # The keypoint that the source does not trust may be anywhere, the other one may not.
    with pose_model(tmp_path, "near", [*ROW[:9], 90, 60, 0.9]) as reduced:
        assert agreement(reduced, truth) == pytest.approx(1)
    with pose_model(tmp_path, "far", [*ROW[:6], 90, 60, 0.9, *ROW[9:]]) as reduced:
        assert agreement(reduced, truth) < 0.5
    with pose_model(tmp_path, "nothing", np.zeros(12).tolist()) as reduced:
        assert agreement(reduced, truth) == 0
        with pytest.raises(DatasetError, match="finds nothing"):
            pseudo_truth(reduced, [photo])
