"""Mask decoders that take prompts, in the two layouts that the SAM family is exported in.

================  ==============================================  ================================
layout            inputs                                          outputs
================  ==============================================  ================================
Segment Anything  ``point_coords`` [1, N, 2], ``point_labels``    ``masks`` [1, M, H, W] at source
(MobileSAM,       [1, N], ``mask_input`` [1, 1, h, w],            size, ``iou_predictions``
SAM-HQ)           ``has_mask_input`` [1], ``orig_im_size`` [2]    [1, M], ``low_res_masks``
                                                                  [1, M, h, w]
Hugging Face      ``input_points`` [1, 1, N, 2],                  ``pred_masks`` [1, 1, M, h, w],
                  ``input_labels`` [1, 1, N], and where they      ``iou_scores`` [1, 1, M]
                  were exported ``input_boxes`` [1, 1, 4],
                  ``input_masks`` [1, 1, h, w]
================  ==============================================  ================================

Everything else that a decoder takes is an output of its encoder, of the same name: image embeddings
and what belongs to them. Labels: 1 on the object, 0 beside it, 2 and 3 the upper left and the lower
right corner of a box, -1 no point at all. Masks are logits: above 0 is the object.

Sources: ``SamOnnxModel`` and its example in the public Segment Anything repository, and the
documentation of ``SamModel`` in transformers. Both count from the centres of pixels, and add the
half themselves: a continuous coordinate c goes in as c - 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgecv.errors import InferenceError, UsageError
from edgecv.prompts import Prompts
from edgecv.record import Record
from edgecv.types import Array, Float32, TensorSpec

SAM = frozenset({"point_coords", "point_labels"})
HUGGING_FACE = frozenset({"input_points", "input_labels"})
_SAM_PROMPTS = SAM | {"mask_input", "has_mask_input", "orig_im_size"}
_BOXES = "input_boxes"
_HF_PROMPTS = HUGGING_FACE | {_BOXES, "input_masks"}
_SAM_OUTPUTS = ("iou_predictions", "low_res_masks")
_HF_OUTPUTS = ("iou_scores", "pred_masks")
_NO_POINT = -1
_MASK_SIDE_PER_INPUT = 4


class Answer(Record):
    """What a decoder says, before anything is chosen.

    Attributes:
        score: (M,) float32, the IoU that the model expects of each mask.
        logits: (M, h, w) float32 at the decoder's own resolution, over the whole model input.
        full: (M, H, W) float32 logits at source size; None where the decoder does not make them.
    """

    score: Float32
    logits: Float32
    full: Float32 | None


class PromptDecoder:
    """Turns prompts into a decoder's inputs, and its outputs into an `Answer`.

    Args:
        inputs: of the decoder, as the engine reports them.
        outputs: of the decoder.
        carried: names of the encoder's outputs.
        input_hw: (height, width) of the encoder's input.
        where: how errors name the decoder.

    Raises:
        UsageError: neither layout, or an input that nobody fills.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        carried: Sequence[str],
        input_hw: tuple[int, int],
        where: str,
    ) -> None:
        self.inputs = {spec.name: spec for spec in inputs}
        self._where, self._input_hw = where, input_hw
        names = set(self.inputs)
        self._sam = names >= SAM
        prompts = _SAM_PROMPTS if self._sam else _HF_PROMPTS
        self._read = _SAM_OUTPUTS if self._sam else _HF_OUTPUTS
        there = {spec.name for spec in outputs}
        known = names >= SAM or names >= HUGGING_FACE or _BOXES in names
        if not known or not there.issuperset(self._read):
            raise UsageError(
                "not a mask decoder that is known here",
                where=where,
                expected=f"inputs {', '.join(sorted(SAM))} and outputs iou_predictions, "
                f"low_res_masks; or inputs {', '.join(sorted(HUGGING_FACE))} or {_BOXES} and "
                "outputs iou_scores, pred_masks",
                got=f"{'; '.join(map(str, inputs))} -> {'; '.join(map(str, outputs))}",
            )
        self.carried = tuple(sorted(names - prompts))
        lacking = [name for name in self.carried if name not in carried]
        if lacking:
            raise UsageError(
                "the decoder takes what its encoder does not put out",
                where=where,
                expected=f"inputs among {', '.join(carried)}",
                got=", ".join(lacking),
                remedy="take encoder and decoder of one export",
            )

    def feeds(self, prompts: Prompts) -> dict[str, Array]:
        """Make the decoder's inputs, but for those that the encoder fills.

        Raises:
            UsageError: a box, a mask or points that this decoder has no input for.
        """
        points, labels, box = prompts.points - 0.5, prompts.labels, prompts.box
        if self._sam and box is not None:
            points = np.concatenate([points, box.reshape(2, 2) - 0.5])
            labels = np.concatenate([labels, [2, 3]])
        elif self._sam or not len(points):
            # The original adds a point that is none wherever there is no box; Hugging Face's
            # decoder does so itself, but cannot be given no points at all.
            points = np.concatenate([points, np.zeros((1, 2))])
            labels = np.concatenate([labels, [_NO_POINT]])
        if self._sam:
            made = {"point_coords": points[None], "point_labels": labels[None]}
            made |= self._sam_mask(prompts)
        else:
            made = {"input_points": points[None, None], "input_labels": labels[None, None]}
            if not HUGGING_FACE.issubset(self.inputs):
                if len(prompts.points):
                    raise self._lacks("input_points", "points")
                made = {}
            made |= self._optional(_BOXES, box, lambda b: (b - 0.5)[None, None])
            made |= self._optional("input_masks", prompts.mask, lambda m: m[None, None])
        return {
            name: np.ascontiguousarray(value, self.inputs[name].dtype)
            for name, value in made.items()
        }

    def _sam_mask(self, prompts: Prompts) -> dict[str, Array]:
        made: dict[str, Array] = {}
        if "orig_im_size" in self.inputs:
            made["orig_im_size"] = np.array(prompts.source_hw)
        if "mask_input" in self.inputs:
            sides = self.inputs["mask_input"].shape[2:]
            usual = [side // _MASK_SIDE_PER_INPUT for side in self._input_hw]
            size = [side or other for side, other in zip(sides, usual, strict=True)]
            mask = prompts.mask
            if mask is not None and list(mask.shape) != size:
                raise UsageError(
                    "", where="mask", expected=f"logits of shape {tuple(size)}", got=str(mask.shape)
                )
            made["mask_input"] = (np.zeros(size) if mask is None else mask)[None, None]
            made["has_mask_input"] = np.array([mask is not None])
        elif prompts.mask is not None:
            raise self._lacks("mask_input", "a mask")
        return made

    def _optional(
        self, name: str, value: Array | None, form: Callable[[Array], Array]
    ) -> dict[str, Array]:
        """Fill an input that an export has or has not; the two must agree with the prompts."""
        what = "a box" if name == _BOXES else "a mask"
        if value is None and name in self.inputs:
            raise UsageError(
                f"this decoder always needs {what}", where=f"{self._where}: input {name}"
            )
        if value is not None and name not in self.inputs:
            raise self._lacks(name, what)
        return {} if value is None else {name: form(value)}

    def _lacks(self, name: str, what: str) -> UsageError:
        return UsageError(
            f"this decoder does not take {what}",
            where=self._where,
            expected=f"an input {name}",
            got=", ".join(self.inputs),
            remedy="export the decoder anew with this input",
        )

    def answer(self, outputs: Mapping[str, Array], source_hw: tuple[int, int]) -> Answer:
        """Read the decoder's outputs, dequantized or float.

        Raises:
            InferenceError: they have other shapes than the layout says.
        """
        names = self._read
        score, logits = (np.asarray(outputs[name], np.float32) for name in names)
        rank = 2 if self._sam else 3
        good = score.ndim == rank and logits.ndim == rank + 2 and logits.shape[:rank] == score.shape
        if not good or score.size != score.shape[-1]:
            raise InferenceError(
                "outputs of another shape",
                where=self._where,
                expected=f"{names[0]} {[1] * (rank - 1)} + [M], {names[1]} with two axes more",
                got=f"{list(score.shape)} and {list(logits.shape)}",
            )
        full = np.asarray(outputs["masks"], np.float32) if "masks" in outputs else None
        if full is not None and full.shape != (*score.shape, *source_hw):
            full = None
        count = score.size
        return Answer(
            score.reshape(count),
            logits.reshape(count, *logits.shape[-2:]),
            None if full is None else full[0],
        )
