"""Two things that phaseconv does, on the best device here, through its command line alone:
a real MR volume upsampled two times, and the first problem verified and timed."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def heading(text: str) -> None:
    print(f"\n{paint('1', text)}", flush=True)


def line(name: str, text: str) -> None:
    print(f"  {name:<9} {text}", flush=True)


def check(good: bool) -> str:
    return paint("32", "pass") if good else paint("31", "FAIL")


class Program:
    """The phaseconv program on one device."""

    def __init__(self, path: Path, device: str) -> None:
        self.path = path
        self.device = device

    def __call__(self, *arguments: str) -> str:
        command = [str(self.path), *arguments, "--device", self.device]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        # 1 is a check that failed: the document says which.
        if done.returncode not in (0, 1):
            sys.exit(f"exit code {done.returncode} from: {' '.join(command)}")
        return done.stdout

    def result(self, command: str, problem: str) -> dict:
        return json.loads(self(command, problem, "--json"))["results"][0]


def load_volumes() -> np.ndarray:
    """nibabel's own example, [time, z, y, x]."""
    path = Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"
    return np.ascontiguousarray(nibabel.nifti1.load(path).get_fdata(dtype=np.float32).T)


def trilinear_kernel(channels: int) -> np.ndarray:
    """[channels, 1, 4, 4, 4]: every output lies 1/4 of a voxel from the nearest input."""
    line_kernel = np.array([0.25, 0.75, 0.75, 0.25], dtype=np.float32)
    cube = np.einsum("i,j,k->ijk", line_kernel, line_kernel, line_kernel)
    return np.ascontiguousarray(np.broadcast_to(cube, (channels, 1, 4, 4, 4)))


def save_picture(before: np.ndarray, after: np.ndarray, path: Path) -> None:
    """An axial and a coronal slice of one volume, [z, y, x]: left as it was, right upsampled."""
    top = float(np.percentile(before, 99.5))
    pixels_a_voxel = 4
    rows = [
        (before[len(before) // 2], after[len(before)]),
        (before[:, before.shape[1] // 2], after[:, before.shape[1]]),
    ]

    def tile(plane: np.ndarray, scale: int) -> Image.Image:
        grey = (np.clip(plane / top, 0, 1) * 255).astype(np.uint8)[::-1]  # up is up
        image = Image.fromarray(grey)
        return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)

    tiles = [(tile(old, pixels_a_voxel), tile(new, pixels_a_voxel // 2)) for old, new in rows]
    gap, caption = 8, 24
    width = 2 * tiles[0][0].width + 3 * gap
    height = caption + sum(old.height + gap for old, _ in tiles)
    canvas = Image.new("L", (width, height), 24)
    draw = ImageDraw.Draw(canvas)
    for column, volume in enumerate((before, after)):
        shape = " x ".join(map(str, volume.shape))
        text = f"{('before', 'after')[column]}: {shape}"
        draw.text((gap + column * (width - gap) // 2, 6), text, fill=255)
    y = caption
    for old, new in tiles:
        canvas.paste(old, (gap, y))
        canvas.paste(new, (2 * gap + old.width, y))
        y += old.height + gap
    canvas.save(path)


def upsample(program: Program, folder: Path) -> bool:
    volumes = load_volumes()
    channels, *size = volumes.shape
    problem = f"ic{channels},oc{channels},g{channels},i{'x'.join(map(str, size))},k4,s2,p1"
    line("problem", problem)
    np.save(folder / "input.npy", volumes[np.newaxis])
    np.save(folder / "weight.npy", trilinear_kernel(channels))
    program(
        *("run", problem, "--input", str(folder / "input.npy")),
        *("--weight", str(folder / "weight.npy"), "--output", str(folder / "output.npy")),
    )
    finer = np.load(folder / "output.npy")[0]

    # scipy's linear zoom in float64, with zeros around the volume: that is what a transposed
    # convolution has there, so borders are compared like everything else.
    expected = [
        ndimage.zoom(v.astype(np.float64), 2, order=1, mode="grid-constant", grid_mode=True)
        for v in volumes
    ]
    difference = float(np.abs(finer - np.stack(expected)).max())
    largest = float(np.abs(volumes).max())
    terms = 2**3  # of each output, all positive weights that sum to one
    good = finer.shape == np.shape(expected) and difference <= (terms + 16) * 2**-24 * largest
    save_picture(volumes[0], finer[0], folder / "upsampled.png")

    line("result", f"{channels} volumes, each {' x '.join(map(str, finer.shape[1:]))}")
    text = f"largest difference {difference:.1e}, values up to {largest:g}"
    line("scipy", f"{check(good)}  {text}")
    line("picture", os.path.relpath(folder / "upsampled.png"))
    return good


def first_problem(program: Program, on_gpu: bool) -> bool:
    problem = f"n{4 if on_gpu else 1},ic32,oc32,g4,i32x64x128,k3,s2,p1"
    line("problem", problem)
    verified = program.result("verify", problem)
    good = bool(verified["pass"])
    share = f"{verified['max_error_over_bound']:.0%} of what is allowed"
    line("verify", f"{check(good)}  largest error {share}")
    if not good:
        line("", verified["reason"])
    timed = program.result("bench", problem)
    line("plan", f"{timed['plan']} on {timed['device']}")
    rate = timed["flops"] / timed["median_ms"] / 1e6
    line("time", f"{timed['median_ms']:.3g} ms, {rate:.3g} GFLOP/s")
    line(
        "floor",
        f"{timed['floor_ms']:.3g} ms, so {timed['floor_share']:.0%} of what is possible here",
    )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, default=Path("build/release/tools/phaseconv"))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    program = Program(arguments.program, arguments.device)

    found = program.result("verify", "ic1,oc1,i1,k1")
    print(f"phaseconv on {found['device']} ({found['backend']})")
    heading("A real MR volume, two times finer in each direction")
    good = upsample(program, arguments.output)
    heading("The first problem: verified, then timed")
    good = first_problem(program, found["device"].startswith("cuda")) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
