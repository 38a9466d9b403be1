"""The workstation side: make bundles out of trained models, and prove that they still work.

Installed as ``edgecv.converters``. It may import torch and every converter; the device runtime
never imports it.

A conversion goes one way::

    source -> float graph (ONNX) -> one float graph for each format -> ladder of quantized files
           -> gate (accuracy on the user's data, speed on this host) -> bundle with card and report

``sources/`` open what people have, ``steps/`` turn one file into another, ``quantizers/`` lower its
precision, ``calibrators/`` choose the ranges that they need. A file in one of these folders is a
plug-in.
"""
