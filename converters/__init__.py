"""The workstation side: make bundles out of trained models.

Installed as ``edgecv.converters``. It may import torch and every converter; the device runtime
never imports it.
"""
