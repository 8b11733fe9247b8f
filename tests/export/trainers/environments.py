"""`make test-trainers`: every trainer in an environment of its own, and its tests in that.

A trainer's loader needs a small part of what the trainer asks for, and some ask for versions that
exclude one another. So each environment holds the trainer and what its loader imports, without
dependencies, and beneath them what the project's environment holds (torch, transformers).
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[3]
PINS: dict[str, tuple[str, list[str]]] = {
    "LLaMA-Factory": (
        "test_llama_factory_loads.py",
        ["llamafactory==0.9.5", "datasets==4.0.0", "peft==0.21.2", "omegaconf==2.4.0"],
    ),
    "Axolotl": (
        "test_axolotl_loads.py",
        ["axolotl==0.19.0", "datasets==4.8.4", "addict==2.4.0", "colorama==0.4.6"],
    ),
    "OpenRLHF": ("test_openrlhf_loads.py", ["openrlhf==0.11.2", "pylatexenc==2.11"]),
    "torchtune": (
        "test_torchtune_loads.py", ["torchtune==0.6.1", "torchao==0.10.0", "omegaconf==2.4.0"],
    ),
    "verl": (
        "test_verl_loads.py",
        ["verl==0.9.1", "ray==2.60.0", "msgpack==1.2.4", "tensordict==0.15.3", "pyvers==0.2.3",
         "omegaconf==2.4.0"],
    ),
}  # fmt: skip
"""Of each trainer its tests, and what is installed: first the trainer itself."""


def main(folder: Path) -> int:
    """Make or complete the environments below `folder`, run the tests; return how many failed."""
    failed = []
    for trainer, (tests, packages) in PINS.items():
        print(f"== {trainer}: {packages[0]}", flush=True)
        python = _environment(folder / trainer, packages)
        command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / tests)]
        apart = os.environ | {"DISABLE_VERSION_CHECK": "1", "HF_HUB_OFFLINE": "1"}
        if subprocess.run(command, cwd=ROOT, env=apart, check=False).returncode:
            failed.append(trainer)
    print("failed: " + ", ".join(failed) if failed else "every trainer read every form")
    return len(failed)


def _environment(folder: Path, packages: list[str]) -> Path:
    """Return the interpreter of an environment that holds the packages."""
    python = folder / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        inside = subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        beneath = Path(inside.stdout.strip()) / "beneath.pth"
        beneath.write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", *quiet, *packages]
    subprocess.run(pip, check=True)
    return python


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
