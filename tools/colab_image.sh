#!/usr/bin/env bash
# make colab: pages 01 and 02 in Colab's own image, which Google publishes. Needs docker, and a home.
#
# The pages lie there alone, as on Colab: their first cell finds no dlfb and installs it beside the
# torch, jax and numpy of the image. What it asks GitHub for is this checkout's last commit.
set -euo pipefail
cd "$(dirname "$0")/.."
image=us-docker.pkg.dev/colab-images/public/runtime
home=$(sed -n 's|^Repository = "\(https://github.com/.*\)"$|\1|p' pyproject.toml)
if [ -z "$home" ]; then
  echo "The pages have no address to install dlfb from: run make home REPO=owner/name first." >&2
  exit 1
fi
pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
cp notebooks/01_*.ipynb notebooks/02_*.ipynb "$pages"
docker run --rm --entrypoint bash -v "$PWD:/book:ro" -v "$pages:/pages" -w /pages "$image" -euc "
  git config --global --add safe.directory '*'
  git config --global url.file:///book.insteadOf '$home'
  before=\$(python3 -m pip freeze | grep -E '^(torch|jax|jaxlib|numpy|pandas)==')
  for page in *.ipynb; do
    python3 -m jupyter nbconvert --to notebook --execute --inplace \"\$page\"
  done
  after=\$(python3 -m pip freeze | grep -E '^(torch|jax|jaxlib|numpy|pandas)==')
  test \"\$before\" = \"\$after\" || { echo 'The image lost its own versions:' \$after; exit 1; }
"
