"""Writes one self-contained Python file: a model with its transposed convolutions replaced.

    python -m phaseconv.emit problem.py -o model_new.py
    python -m phaseconv.emit n4,ic32,oc32,g4,i32x64x128,k3,s2,p1 -o model_new.py

`compose.emit` and `compose.emit_problem` do the same from Python.
"""
