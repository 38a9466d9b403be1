"""Classes that were described in words: an image's vector against the vectors of the texts.

The vectors of the classes come from the text tower of the model that the image tower was trained
with (CLIP, SigLIP); they are computed once, on a workstation, and travel as an array of the
head: no text tower is needed to run. The image's vector is read as head ``embed`` reads it.

Scores, from the cosine c of both vectors (sources: *Learning Transferable Visual Models From
Natural Language Supervision*, 2021, figure 3, and *Sigmoid Loss for Language Image Pre-Training*,
2023, section 3.2):

=======  ==========================================================================
CLIP     softmax over the classes of ``logit_scale * c``
SigLIP   ``sigmoid(logit_scale * c + logit_bias)``, each class by itself
=======  ==========================================================================

Never recognised by shapes: without its classes an image tower only embeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import pooling
from edgecv.errors import HeadError
from edgecv.head import Fit, Pixels, wrong_shape
from edgecv.record import Record
from edgecv.results.classes import Classes
from edgecv.types import Array, Float32, TensorSpec

TASK = "classify"
# CLIP's own mean and standard deviation, which its public preprocessing names.
PIXELS = Pixels(
    "crop",
    "rgb",
    (122.7709383, 116.7460125, 104.09373615),
    (68.5005327, 66.6321579, 70.32316305),
    interpolation="area",
)

_WHERE = "head zero_shot"
_OFF_LENGTH = 0.02  # float16 and rounding leave less


class Options(Record, kw_only=True):
    """How to read the outputs, and what the classes are.

    Attributes:
        input_hw: (height, width) of the model's input; not used.
        class_embeddings: (C, D) float32, one row of length 1 for each class.
        num_classes: rows that `class_embeddings` must have; 0 takes any number.
        logit_scale: factor of the cosine; CLIP's stored parameter is its logarithm.
        logit_bias: added to the scaled cosine.
        sigmoid: score each class by itself (SigLIP) instead of all against each other (CLIP).
        top_k: classes in the result.
        output: name of the tensor that holds the vector; None finds it.
        pooling: of tokens [1, T, D]: ``cls`` or ``mean``.
        skip_tokens: tokens at the beginning that ``mean`` leaves out.
    """

    input_hw: tuple[int, int] = (0, 0)
    class_embeddings: Float32 | None = None
    num_classes: int = 0
    logit_scale: float = 100.0
    logit_bias: float = 0.0
    sigmoid: bool = False
    top_k: int = 5
    output: str | None = None
    pooling: str = "cls"
    skip_tokens: int = 0

    def __post_init__(self) -> None:
        rows = self.class_embeddings
        if rows is None:
            return
        where = f"{_WHERE}: class_embeddings"
        if rows.ndim != 2 or not rows.size:
            raise HeadError("", where=where, expected="shape (C, D)", got=str(rows.shape))
        lengths = np.linalg.norm(rows, axis=1)
        if not (np.abs(lengths - 1) < _OFF_LENGTH).all():
            worst = lengths[np.abs(lengths - 1).argmax()]
            raise HeadError(
                "the vectors of the classes are not of length 1",
                where=where,
                expected="rows of length 1",
                got=f"{float(worst):.4g}",
                remedy="divide each row by its length",
            )


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Say no: shapes cannot tell which classes are meant."""
    del inputs, outputs
    return Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Classes:
    """Score the classes, best first.

    Args:
        outputs: as head ``embed`` takes them.
        options: with the vectors of the classes.

    Raises:
        HeadError: no vectors of classes, or of another size or number; outputs that hold no
            vector, or one that is not finite.
    """
    classes = options.class_embeddings
    if classes is None:
        raise HeadError(
            "the vectors of the classes are missing",
            where=f"{_WHERE}: class_embeddings",
            expected="an array (C, D)",
            remedy="give them with --head-array class_embeddings=FILE.npy",
        )
    if options.num_classes not in (0, len(classes)):
        raise HeadError(
            "another number of classes",
            where=f"{_WHERE}: class_embeddings",
            expected=str(len(classes)),
            got=str(options.num_classes),
        )
    vector = pooling.vector_of(
        outputs,
        output=options.output,
        pooling=options.pooling,
        skip_tokens=options.skip_tokens,
        head="zero_shot",
    )
    if vector.size != classes.shape[1]:
        wanted = f"a vector of {classes.shape[1]} numbers, as those of the classes"
        raise wrong_shape("zero_shot", wanted, outputs)
    cosine = classes @ pooling.unit(vector)
    logits = options.logit_scale * cosine.astype(np.float64) + options.logit_bias
    with np.errstate(over="ignore"):
        if options.sigmoid:
            scores = 1 / (1 + np.exp(-logits))
        else:
            weights = np.exp(logits - logits.max())
            scores = weights / weights.sum()
    return Classes.top(np.asarray(scores, np.float32), options.top_k)
