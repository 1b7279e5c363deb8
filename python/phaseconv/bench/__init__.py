"""Times this library beside PyTorch, in one run.

    python -m phaseconv.bench --suite shapes/perf.txt --output result.json --page performance.md

`__main__` is the command line, `measure` one layer, `clock` how time is told, `ceilings` what the
machine reaches; these need PyTorch. `problems`, `environment`, `figures`, `plot` and `page` do not,
and import nothing of phaseconv: bench/render.py uses them alone.
"""
