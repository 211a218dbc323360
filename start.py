"""Sets up an environment of its own and runs the demo or the checks, or builds the pages.

    python start.py demo     sets up, makes data, trains, tests, reports
    python start.py test     sets up, runs every check
    python start.py docs     sets up, builds the documentation
    python start.py setup    sets up only

On two shared cores the demo took 8 minutes: setting up 3 min 37 s (once), the rest 4 min 30 s.

Needs Python 3.11 to 3.13 (on Debian and Ubuntu with the package `python3-venv`) and nothing
else. Everything is installed into `.venv` beside this file; the system's Python is left as it is.
Arguments after the word are passed on, for example `python start.py test -k plan` or
`python start.py demo --open`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PROGRAM = PYTHON.with_name("selfseg.exe" if os.name == "nt" else "selfseg")

LARGE_MEGABYTES = 50
"""A package of this size is worth a line while it is fetched."""

EXTRAS = {"demo": "", "test": "dev", "docs": "docs", "setup": ""}
"""What each word needs besides the package's own dependencies."""

CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("lint", ("-m", "ruff", "check", ".")),
    ("format", ("-m", "ruff", "format", "--check", ".")),
    ("types", ("-m", "mypy")),
    ("import rules", ("-c", "from importlinter.cli import lint_imports_command as c; c()")),
)


def main() -> int:
    """Runs what the first word asks for."""
    words = sys.argv[1:]
    if not words or words[0] not in EXTRAS:
        print(__doc__)
        return 2
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        print(
            f"Python 3.11 to 3.13 is needed; this is {sys.version.split()[0]}.\n"
            "Install one of them and start this file with it, for example: python3.12 start.py demo"
        )
        return 1
    set_up(extras=EXTRAS[words[0]])
    if words[0] == "demo":
        say("the demo")
        status = run("-m", "selfseg", "demo", *words[1:])
        if status == 0:
            say(how_to_call())
        return status
    if words[0] == "test":
        return run_checks(words[1:])
    if words[0] == "docs":
        return build_pages(words[1:])
    say(how_to_call())
    return 0


def set_up(extras: str) -> None:
    """Makes `.venv` and installs the package, unless an earlier call did just that."""
    stamp = VENV / f"installed-{extras or 'base'}"
    wanted = hashlib.sha256(
        (HERE / "pyproject.toml").read_bytes() + (HERE / "constraints.txt").read_bytes()
    ).hexdigest()
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    if not PYTHON.exists():
        say("making an environment in .venv")
        make_environment()
    say("fetching packages (some minutes the first time; torch is the large one)")
    status = install(f".[{extras}]" if extras else ".")
    if status != 0:
        print("the installation failed; its last lines above say why. Nothing else was changed.")
        raise SystemExit(status)
    stamp.write_text(wanted)


def make_environment() -> None:
    """Makes `.venv`, or says which part of Python is missing."""
    try:
        venv.create(VENV, with_pip=True, clear=VENV.exists())
    except subprocess.CalledProcessError as error:
        shutil.rmtree(VENV, ignore_errors=True)  # without pip it is of no use
        print(
            f"this Python cannot make an environment: {sys.executable}\n"
            f"  expected: its parts `venv` and `ensurepip`\n  found: {error}\n"
            "  what to do: on Debian and Ubuntu `sudo apt install python3-venv`, then the same "
            "command again"
        )
        raise SystemExit(1) from error


def install(target: str) -> int:
    """Runs pip; of what it says, only the large steps are shown, and everything if it fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--constraint", "constraints.txt", "--editable", target]
    told = []
    with subprocess.Popen(
        command,
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        assert pip.stdout is not None  # noqa: S101 - it is a pipe
        for line in pip.stdout:
            told.append(line)
            step = large_step(line)
            if step:
                say(step)
    if pip.returncode != 0:
        print("".join(told), end="")
    return pip.returncode


def large_step(line: str) -> str:
    """What a line of pip's says in a few words, where it begins something that takes long."""
    fetched = re.match(r"\s*Downloading (?:\S*/)?(\S+) \(([\d.]+) ([kMG]B)\)", line)
    if fetched:
        size = float(fetched[2]) * {"kB": 1e-3, "MB": 1, "GB": 1e3}[fetched[3]]
        return f"fetching {fetched[1]} ({size:.0f} MB)" if size >= LARGE_MEGABYTES else ""
    packages = re.match(r"Installing collected packages: (.*)", line)
    return f"installing {len(packages[1].split(','))} packages" if packages else ""


def how_to_call() -> str:
    """What to type from here on."""
    try:
        shown = PROGRAM.relative_to(Path.cwd())
    except ValueError:
        shown = PROGRAM
    return f"ready; go on with: {shown} --help"


def run_checks(pytest_arguments: list[str]) -> int:
    """Runs all checks, also after one has failed, and says which failed."""
    failed = []
    if not pytest_arguments:
        for name, arguments in CHECKS:
            say(name)
            if run(*arguments) != 0:
                failed.append(name)
    say("tests")
    if run("-m", "pytest", *(pytest_arguments or ("-n", "auto", "--dist", "loadfile"))) != 0:
        failed.append("tests")
    say("failed: " + ", ".join(failed) if failed else "all checks passed")
    return 1 if failed else 0


def build_pages(sphinx_arguments: list[str]) -> int:
    """Builds the documentation anew; a warning, such as a broken link, is an error."""
    say("documentation")
    pages = HERE / "docs" / "_build"
    options = ("-W", "--keep-going", "-E", "-q", "-b", "html", *sphinx_arguments)
    status = run("-m", "sphinx", *options, "docs", str(pages))
    if status == 0:
        say(f"ready: {pages / 'index.html'}")
    return status


def run(*arguments: str) -> int:
    """Runs the environment's Python in the checkout."""
    return subprocess.call([str(PYTHON), *arguments], cwd=HERE)


def say(text: str) -> None:
    """Prints a heading with the time, so that waiting is bearable."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
