"""Loads the operator file that lies beside this one (operator.cpp)."""

from pathlib import Path

import torch

torch.ops.load_library(Path(__file__).with_name("phaseconv_operator.so"))
